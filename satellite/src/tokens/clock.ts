import { readFileSync } from 'node:fs';
import { uptime } from 'node:os';

/** One moment on the clocks of this machine; all in milliseconds. */
export interface Moment {
  /** By the calendar, since the epoch; jumps when somebody sets the clock. */
  readonly wall: number;
  /** Since the machine was booted, sleep included; never jumps. */
  readonly uptime: number;
  /** Which boot that was; empty where the system doesn't say. */
  readonly boot: string;
}

/** The same moment, and what the state's own time was then. */
export interface Anchor extends Moment {
  readonly time: number;
}

/** What tokens age by. */
export interface StateClock {
  /** Milliseconds since the epoch, never going back. */
  now(): number;
  /** What has to be added to a time of this clock to have it by the calendar as it is now. */
  skew(): number;
}

/** Reads the machine's clocks. */
export function systemMoment(): Moment {
  return { wall: Date.now(), uptime: Math.round(currentUptime()), boot: currentBoot };
}

/** The process's own clock costs less, but stands still while the machine sleeps: the system's is asked now and then. */
const LOOK_MS = 1000;
let looked = { tick: Number.NEGATIVE_INFINITY, uptime: 0 };

function currentUptime(): number {
  const tick = performance.now();
  const passed = tick - looked.tick;
  if (passed < LOOK_MS) return looked.uptime + passed;
  // The system's is in hundredths of a second, or whole ones.
  looked = { tick, uptime: Math.max(uptime() * 1000, looked.uptime + (passed < Infinity ? passed : 0)) };
  return looked.uptime;
}

const currentBoot = readBoot();

/** Linux, random(4): a new one at every boot. */
function readBoot(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return '';
  }
}

/** Less than this is rounding, and the slow corrections of NTP. */
const SKEW_MS = 1000;

/**
 * The time by which tokens age: the calendar's when the state was made, and from then on what has really passed, however
 * the system's clock is set meanwhile. Over a restart of the program the uptime still tells how long that took. Over one
 * of the machine only the calendar does: there a clock that went back counts as no time, and one that went forward can't
 * be told from a long rest.
 */
export class Clock implements StateClock {
  readonly #read: () => Moment;
  readonly #start: Anchor;

  /** `last` is what was kept of the clock before; `newest` the latest time in the state. */
  constructor(last: Anchor | undefined, newest = 0, read: () => Moment = systemMoment) {
    this.#read = read;
    const moment = read();
    const time = last === undefined ? Math.max(moment.wall, newest) : last.time + passed(last, moment);
    this.#start = { ...moment, time };
  }

  now(): number {
    return this.anchor().time;
  }

  /** What to keep, for a clock that goes on from here. */
  anchor(): Anchor {
    const moment = this.#read();
    return { ...moment, time: this.#start.time + Math.max(0, moment.uptime - this.#start.uptime) };
  }

  skew(): number {
    const { wall, time } = this.anchor();
    return Math.abs(wall - time) < SKEW_MS ? 0 : wall - time;
  }
}

function passed(last: Moment, now: Moment): number {
  const sameBoot = last.boot !== '' && last.boot === now.boot && now.uptime >= last.uptime;
  return Math.max(0, sameBoot ? now.uptime - last.uptime : now.wall - last.wall);
}
