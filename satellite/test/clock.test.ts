import { describe, expect, test } from 'vitest';
import { Clock, type Moment, systemMoment } from '../src/tokens/clock.ts';

const HOUR = 3600_000;
const START = Date.UTC(2026, 8, 1);

/** A machine whose clocks do as they are told. */
function machine() {
  let moment: Moment = { wall: START, uptime: 5 * HOUR, boot: 'first' };
  return {
    read: () => moment,
    pass(time: number): void {
      moment = { ...moment, wall: moment.wall + time, uptime: moment.uptime + time };
    },
    setCalendar(by: number): void {
      moment = { ...moment, wall: moment.wall + by };
    },
    reboot(): void {
      moment = { ...moment, uptime: 0, boot: `after ${moment.boot}` };
    },
  };
}

describe('the time by which tokens age', () => {
  test.each([60 * HOUR, -60 * HOUR])('knows no jump of the calendar by %i while it runs', (jump) => {
    const { read, pass, setCalendar } = machine();
    const clock = new Clock(undefined, 0, read);
    pass(HOUR);
    setCalendar(jump);
    pass(HOUR);
    expect(clock.now()).toBe(START + 2 * HOUR);
    expect(clock.now() + clock.skew()).toBe(read().wall);
  });

  test.each([60 * HOUR, -60 * HOUR])('nor by %i over a restart of the program', (jump) => {
    const { read, pass, setCalendar } = machine();
    const kept = new Clock(undefined, 0, read).anchor();
    setCalendar(jump);
    pass(HOUR);
    expect(new Clock(kept, 0, read).now()).toBe(START + HOUR);
  });

  test('over a restart of the machine time goes on by the calendar, and never back', () => {
    const { read, pass, setCalendar, reboot } = machine();
    const first = new Clock(undefined, 0, read);
    // Wrong while the state was made, set right later: what counts is the difference.
    setCalendar(60 * HOUR);
    const kept = first.anchor();
    reboot();
    pass(2 * HOUR);
    expect(new Clock(kept, 0, read).now()).toBe(START + 2 * HOUR);
    setCalendar(-100 * HOUR);
    expect(new Clock(kept, 0, read).now()).toBe(START);
  });

  test('a machine that does not say which boot it is has only its calendar', () => {
    const { read, pass, setCalendar } = machine();
    const anonymous = () => ({ ...read(), boot: '' });
    const kept = new Clock(undefined, 0, anonymous).anchor();
    pass(HOUR);
    setCalendar(HOUR);
    expect(new Clock(kept, 0, anonymous).now()).toBe(START + 2 * HOUR);
  });

  test('a state from before it was kept begins no earlier than its newest record', () => {
    const { read } = machine();
    expect(new Clock(undefined, START + HOUR, read).now()).toBe(START + HOUR);
    expect(new Clock(undefined, START - HOUR, read).now()).toBe(START);
  });

  test('the machine’s own clocks can be read, and go on', () => {
    const [first, second] = [systemMoment(), systemMoment()];
    expect(first.uptime).toBeGreaterThan(0);
    expect(second.uptime).toBeGreaterThanOrEqual(first.uptime);
    expect([first, second].every((one) => Number.isInteger(one.uptime) && one.boot === first.boot)).toBe(
      true,
    );
  });
});
