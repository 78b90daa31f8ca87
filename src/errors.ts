import type { SessionReport } from './sessions/session.ts';

/**
 * What a person can mend. One printer (`ui/report-error.ts`) says these without a stack trace; the exit code comes
 * from the class. Anything else that is thrown is a bug.
 */
export abstract class PersonError extends Error {
  abstract readonly exitCode: number;
  /** What to do next, as a sentence; printed on a line of its own. */
  readonly hint: string | undefined;
  /** The session that it stopped, for `--json`, or what was known of the launch where none had begun. */
  report: Partial<SessionReport> | undefined;

  constructor(message: string, hint?: string, report?: SessionReport) {
    super(message);
    this.name = new.target.name;
    this.hint = hint;
    this.report = report;
  }
}

/** A command line that can't be meant. */
export class UsageError extends PersonError {
  readonly exitCode = 2;
}

/** A configuration file, an environment or this machine isn't as a launch needs it. */
export class ConfigurationError extends PersonError {
  readonly exitCode = 3;
}

/** The Satellite proxy is down, refuses, or answers nonsense. */
export class ProxyError extends PersonError {
  readonly exitCode = 4;
}

/** An ssh connection can't be made, or breaks. */
export class ConnectionError extends PersonError {
  readonly exitCode = 4;
  /** The next try would fail, too. */
  readonly final: boolean;

  constructor(message: string, hint: string, { final }: { readonly final: boolean }) {
    super(message, hint);
    this.final = final;
  }
}

/** What start-jupyter said on another machine, with its exit code. */
export class RemoteError extends PersonError {
  readonly exitCode: number;

  constructor(message: string, hint: string | undefined, exitCode: number) {
    super(message, hint);
    this.exitCode = exitCode;
  }
}

/** The scheduler can't be reached or refuses. */
export class SchedulerError extends PersonError {
  readonly exitCode = 5;
}

/** The session failed, or did not come up in time. */
export class SessionError extends PersonError {
  readonly exitCode = 6;
}

/** Nobody could be told of a session that had come up: it is no use to anybody, and was ended. */
export class OutputError extends PersonError {
  readonly exitCode = 6;
}

/** Ctrl-C, or a signal to end. */
export class InterruptedError extends PersonError {
  readonly exitCode = 130;
}

/** Something elsewhere lacks a line, which is printed as it is, on a line of its own, to be pasted there. */
export class PasteError extends PersonError {
  readonly exitCode: number;
  readonly line: string;

  /** @param exitCode that of the class whose error it would be without the line */
  constructor(exitCode: 3 | 4, message: string, hint: string, line: string) {
    super(message, hint);
    this.exitCode = exitCode;
    this.line = line;
  }
}
