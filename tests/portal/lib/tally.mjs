/** Runs named checks one after the other and prints a line for each. */
export class Tally {
  #passed = 0;
  #failed = 0;

  /** Runs one check; it fails by throwing. Returns whether it passed. */
  async check(name, work) {
    try {
      await work();
      this.#passed += 1;
      console.log(`ok    ${name}`);
      return true;
    } catch (cause) {
      this.#failed += 1;
      console.log(`FAIL  ${name}\n      ${String(cause?.message ?? cause).replaceAll('\n', '\n      ')}`);
      return false;
    }
  }

  skip(name, reason) {
    console.log(`skip  ${name} (${reason})`);
  }

  /** Prints the count and returns the exit code. */
  finish() {
    console.log(`${this.#passed} passed, ${this.#failed} failed`);
    return this.#failed === 0 && this.#passed > 0 ? 0 : 1;
  }
}
