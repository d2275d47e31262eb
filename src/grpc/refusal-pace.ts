// Refusals come a few at a time, so that a flood of them does not keep the calls of others waiting: between two turns of the
// event loop what others have sent is read and what Redis has answered goes out.

const REFUSALS_PER_TURN = 8;

export class RefusalPace {
  readonly #waiting: (() => void)[] = [];

  /** Resolves when it is the refusal's turn. */
  turn(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#waiting.push(resolve) === 1) setImmediate(() => this.#next());
    });
  }

  #next(): void {
    for (const resolve of this.#waiting.splice(0, REFUSALS_PER_TURN)) resolve();
    if (this.#waiting.length > 0) setImmediate(() => this.#next());
  }
}
