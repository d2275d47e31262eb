// What is to be said of a run that has ended: the ledger's audit, the checker's verdicts, the invariants, and whether the
// services say what Redis has.
import type { History } from "./history.js";
import { brokenInvariants } from "./invariants.js";
import { differences, lastLook } from "./last-look.js";
import { type Audit, audit } from "./ledger.js";
import { check } from "./linearizability.js";
import type { Recorder, TokenName } from "./recorder.js";
import type { Stage } from "./stage.js";

export interface Judgement extends Audit {
  /** How many histories were checked. */
  readonly histories: number;
  /** Histories that no order of the operations explains, with the reason. */
  readonly violations: readonly { readonly reason: string; readonly history: History }[];
  /** What does not hold of Redis, or of what the services say of it. */
  readonly broken: readonly string[];
  /** What else went wrong. */
  readonly complaints: readonly string[];
}

const CHECKER_STEPS = 2_000_000;

/** Judges a run after which all is well again and nothing is under way. */
export async function judge(stage: Stage, recorder: Recorder, tokens: readonly TokenName[]): Promise<Judgement> {
  const seen = await lastLook(recorder, stage.services, tokens);
  const store = await stage.read([...new Set(tokens.map(({ organizationId }) => organizationId))]);
  stage.remember(store);
  const { mutations, verifications, unexpected } = recorder;
  const histories = [...recorder.histories().values()];
  const verdicts = histories.map((history) => ({ history, verdict: check(history, { steps: CHECKER_STEPS }) }));
  return {
    ...audit({ mutations, verifications, store }),
    histories: histories.length,
    violations: verdicts.flatMap(({ history, verdict }) =>
      verdict.linearizable === false ? [{ reason: verdict.reason, history }] : [],
    ),
    broken: [...differences(seen, store), ...brokenInvariants(store, mutations)],
    complaints: [
      ...unexpected,
      ...stage.services.unexpectedEnds(),
      ...verdicts.flatMap(({ verdict }) => (verdict.linearizable === undefined ? [verdict.reason] : [])),
    ],
  };
}
