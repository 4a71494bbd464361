/** An item of a `TimerQueue`, by which it can be removed. */
export interface Timer<T> {
  readonly at: number;
  readonly item: T;
  /** Its position in the heap; -1 when it is no longer queued. */
  index: number;
  readonly number: number;
}

/** Items in the order of their times; those of one time in the order in which they came. A binary heap whose items know their position. */
export class TimerQueue<T> {
  readonly #heap: Timer<T>[] = [];
  #count = 0;

  get size(): number {
    return this.#heap.length;
  }

  /** The time of the first item. */
  get firstAt(): number | undefined {
    return this.#heap[0]?.at;
  }

  items(): T[] {
    return this.#heap.map((timer) => timer.item);
  }

  add(at: number, item: T): Timer<T> {
    const timer: Timer<T> = { at, item, index: this.#heap.length, number: this.#count++ };
    this.#heap.push(timer);
    this.#rise(timer);
    return timer;
  }

  /** Removes an item, if it is still queued. */
  remove(timer: Timer<T>): void {
    if (timer.index < 0) return;
    const last = this.#heap.pop() as Timer<T>;
    if (last !== timer) {
      this.#put(last, timer.index);
      this.#rise(last);
      this.#sink(last);
    }
    timer.index = -1;
  }

  /** Removes and returns the first item, unless its time is after `latest`. */
  pop(latest: number): Timer<T> | undefined {
    const first = this.#heap[0];
    if (first === undefined || first.at > latest) return undefined;
    this.remove(first);
    return first;
  }

  #put(timer: Timer<T>, index: number): void {
    this.#heap[index] = timer;
    timer.index = index;
  }

  #rise(timer: Timer<T>): void {
    while (timer.index > 0) {
      const parent = this.#heap[(timer.index - 1) >> 1] as Timer<T>;
      if (!isBefore(timer, parent)) return;
      this.#swap(timer, parent);
    }
  }

  #sink(timer: Timer<T>): void {
    for (;;) {
      const left = this.#heap[2 * timer.index + 1];
      const right = this.#heap[2 * timer.index + 2];
      const child = left !== undefined && right !== undefined && isBefore(right, left) ? right : left;
      if (child === undefined || !isBefore(child, timer)) return;
      this.#swap(timer, child);
    }
  }

  #swap(one: Timer<T>, other: Timer<T>): void {
    const index = one.index;
    this.#put(one, other.index);
    this.#put(other, index);
  }
}

function isBefore(one: Timer<unknown>, other: Timer<unknown>): boolean {
  return one.at < other.at || (one.at === other.at && one.number < other.number);
}
