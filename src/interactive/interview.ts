/** `--interactive`: asks for what matters, shows what would be typed for the same, and asks whether to go ahead. */
import type { Settings } from '../config/layers.ts';
import { InterruptedError, UsageError } from '../errors.ts';
import type { LaunchSpec } from '../launch-spec.ts';
import { type OptionKey, type OptionValues, optionKeys, options } from '../options.ts';
import { checkThisMachine } from '../preflight.ts';
import { isDefault, refuseConflicts, resolve } from '../resolve.ts';
import { schedulers } from '../schedulers/registry.ts';
import type { System } from '../systems/system.ts';
import { createProgress } from '../ui/progress.ts';
import { paint } from '../ui/style.ts';
import { alignColumns } from '../ui/table.ts';
import { printable, shown } from '../values.ts';
import { commandLine, optionText } from './command-line.ts';
import { askScheduler, type Facts, factsFrom, whatIsMissing } from './facts.ts';
import { checkedSoFar, problemWith } from './problems.ts';
import { ask, confirmLaunch } from './prompts.ts';
import { type Answers, nextQuestion, optionValues, type Question } from './questions.ts';
import { recall, remember } from './remembered.ts';

/**
 * @param check refuses a launch that no answer can mend
 * @returns the options with the answers; undefined where only the command line was wanted, which is printed then
 * @throws UsageError without a terminal, InterruptedError; whatever a launch with these options is refused for
 */
export async function interview(
  typed: OptionValues,
  schedulerArguments: readonly string[],
  check: (spec: LaunchSpec) => void,
  interrupted: AbortSignal,
): Promise<OptionValues | undefined> {
  refuseConflicts(typed);
  if (!process.stdin.isTTY || !process.stderr.isTTY)
    throw new UsageError(
      '--interactive asks questions, and there is no terminal to ask them on.',
      'Leave it out, or run it in a terminal ("ssh -t" gives one).',
    );
  const { settings, system } = await resolve(typed, { offline: false });
  const spec = checkedSoFar(settings, system);
  check(spec);
  checkThisMachine(spec, settings);

  const facts = await gatherFacts(spec, system, settings, interrupted);
  say(paint(process.stderr, 'dim', 'Enter takes what is offered; Esc leaves, and nothing is started.'));
  const answers = await askAll(facts, interrupted);
  const { interactive: _, ...answered } = { ...typed, ...optionValues(facts, answers) };
  const command = commandLine(answered, schedulerArguments, Math.min(process.stderr.columns || 80, 80));
  await summarise(answered, command);

  const decision = await confirmLaunch(interrupted);
  if (decision === 'cancel') throw new InterruptedError('Cancelled; nothing was started.');
  const problem = remember(system.name, answers);
  if (problem !== undefined) say(problem);
  if (decision === 'launch') return answered;
  process.stdout.write(`${command}\n`);
  return undefined;
}

async function gatherFacts(
  spec: LaunchSpec,
  system: System,
  settings: Settings,
  interrupted: AbortSignal,
): Promise<Facts> {
  if (spec.here || system.scheduler === 'none') return factsFrom(spec, settings, undefined);
  const progress = createProgress(process.stderr, false);
  progress.status(`Asking ${schedulers[system.scheduler].title} what is free`);
  const asked = await askScheduler(system).finally(() => progress.end());
  interrupted.throwIfAborted();
  const facts = factsFrom(spec, settings, asked);
  const missing = whatIsMissing(facts, asked);
  if (missing !== undefined) say(missing);
  return facts;
}

async function askAll(facts: Facts, interrupted: AbortSignal): Promise<Answers> {
  const { answers: last, problem } = recall(facts.system.name);
  if (problem !== undefined) say(problem);
  let answers: Answers = {};
  for (;;) {
    const earlier = answers;
    const question = nextQuestion(facts, earlier);
    if (question === undefined) return answers;
    const problemOf = (text: string) => problemWith(facts, earlier, question, text);
    const answer = await ask(withLast(question, last[question.id], problemOf), problemOf, interrupted);
    // A text has been checked while it was typed; a choice may contradict an option.
    const refused = question.kind === 'choice' ? problemOf(answer) : undefined;
    if (refused === undefined) answers = { ...earlier, [question.id]: answer };
    else say(paint(process.stderr, 'red', refused));
  }
}

/** The question with the last answer offered, as long as that is still one. */
export function withLast(
  question: Question,
  last: string | undefined,
  problemOf: (text: string) => string | undefined,
): Question {
  if (last === undefined || last !== printable(last)) return question;
  const isOne =
    question.kind === 'choice'
      ? question.choices.some(({ value, disabled }) => value === last && disabled === undefined)
      : problemOf(last) === undefined;
  return isOne ? { ...question, preferred: last } : question;
}

/** What a launch comes to, from the answers and from elsewhere, and how to say the same without being asked. */
async function summarise(answered: OptionValues, command: string): Promise<void> {
  const { settings, system } = await resolve(answered, { offline: false });
  const keys = optionKeys.filter((key) => settings[key] !== undefined && shownGroups.has(options[key].group));
  const rows = keys.map((key) => summaryRow(key, settings, system));
  const here = settings.here?.value || system.scheduler === 'none';
  say('');
  for (const row of alignColumns([
    ['system', `${shown(system.title, 50)}${here ? ', on this machine' : ''}`],
    ...rows,
  ]))
    say(`  ${row}`);
  say('');
  say('The same without questions:');
  say(paint(process.stderr, 'cyan', command));
  say('');
}

const shownGroups: ReadonlySet<string> = new Set(['What to start', 'Resources', 'Environment']);

function summaryRow(key: OptionKey, settings: Settings, system: System): string[] {
  const setting = settings[key];
  if (setting === undefined) return [];
  const name = options[key].flag;
  const isElsewhere = isDefault(setting, system) || !setting.origin.startsWith('-');
  const origin = isElsewhere ? paint(process.stderr, 'dim', shown(setting.origin, 30)) : '';
  return [name, shown(optionText(key, setting.value), 30), origin];
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
