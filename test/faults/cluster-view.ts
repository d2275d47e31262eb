// What a node of a cluster says of all nodes, itself included: the reply to CLUSTER NODES.

/** What one node says of another. */
export interface View {
  readonly id: string;
  readonly port: number;
  readonly flags: readonly string[];
  readonly masterId: string;
  readonly isConnected: boolean;
  /** First and last slots. */
  readonly slots: readonly (readonly [number, number])[];
}

/** Of lines like `id host:port@busport flags master ping pong epoch connected 0-5460 5462`. */
export function parseNodes(text: string): View[] {
  const lines = text.split("\n").filter((line) => line !== "");
  return lines.map((line) => {
    const [id = "", address = "", flags = "", masterId = "", , , , link, ...slots] = line.split(" ");
    return {
      id,
      port: Number(/:(\d+)@/.exec(address)?.[1]),
      flags: flags.split(","),
      masterId,
      isConnected: link === "connected",
      slots: slots
        .filter((slot) => !slot.startsWith("["))
        .map((slot) => {
          const [first = Number.NaN, last = first] = slot.split("-").map(Number);
          return [first, last] as const;
        }),
    };
  });
}

/** Whether it is a master that serves slots. */
export function isSlotOwner({ flags, slots }: View): boolean {
  return flags.includes("master") && !flags.includes("fail") && slots.length > 0;
}

/** Whether the slot is said to be its. */
export function owns({ slots }: View, slot: number): boolean {
  return slots.some(([first, last]) => first <= slot && slot <= last);
}

/** Throws unless the node sees that many nodes, and all of them well. */
export function checkView(view: readonly View[], count: number): void {
  const isWell = ({ flags, isConnected }: View) =>
    isConnected && flags.every((flag) => ["myself", "master", "slave"].includes(flag));
  if (view.length !== count || !view.every(isWell)) throw new Error("a node does not see everybody well");
}
