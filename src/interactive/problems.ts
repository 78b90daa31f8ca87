/** Why an answer can't be taken: by the rules that hold for what is typed as an option. */
import type { Settings } from '../config/layers.ts';
import { PersonError } from '../errors.ts';
import { commandLineOrigin, type LaunchSpec, launchSpec } from '../launch-spec.ts';
import type { OptionValues } from '../options.ts';
import { checkThisMachine } from '../preflight.ts';
import type { System } from '../systems/system.ts';
import { formatDuration, printable } from '../values.ts';
import type { Facts } from './facts.ts';
import { type Answers, gpusFor, largestNode, optionValues, type Question, timeLimit } from './questions.ts';

/** For the person, what to do instead on a line of its own; undefined where the answer can be taken. */
export function problemWith(
  facts: Facts,
  earlier: Answers,
  question: Question,
  text: string,
): string | undefined {
  if (text === '') return question.kind === 'text' && question.required ? 'Write something.' : undefined;
  const answers: Answers = { ...earlier, [question.id]: text };
  try {
    const values = optionValues(facts, answers);
    const settings = withTyped(facts.settings, values);
    const spec = checkedSoFar(settings, facts.system);
    const problem = moreThanThereIs(facts, answers, question, values);
    if (problem !== undefined) return problem;
    if (['dir', 'venv', 'condaEnv'].includes(question.id)) checkThisMachine(spec, settings);
    return undefined;
  } catch (error) {
    if (!(error instanceof PersonError)) throw error;
    const message = error.message.replace(`${commandLineOrigin(question.option)}: `, '');
    return [message, error.hint].flatMap((line) => (line === undefined ? [] : printable(line))).join('\n  ');
  }
}

/** The settings as they would be, had these options been typed. */
function withTyped(settings: Settings, values: OptionValues): Settings {
  const typed = Object.entries(values).map(([key, value]) => [
    key,
    { value, origin: commandLineOrigin(key as keyof OptionValues) },
  ]);
  return { ...settings, ...Object.fromEntries(typed) };
}

/**
 * The launch as far as it is known, held against its rules; what an answer may still mend is left alone.
 * @throws UsageError, ConfigurationError
 */
export function checkedSoFar(settings: Settings, system: System): LaunchSpec {
  const { gpu: _, ...withoutGpu } = settings;
  return launchSpec(
    settings.partition === undefined ? withoutGpu : settings,
    { ...system, requireAccount: false },
    process.cwd(),
  );
}

function moreThanThereIs(
  facts: Facts,
  answers: Answers,
  { id }: Question,
  { time, gpu, cpus, memory }: OptionValues,
): string | undefined {
  const limit = timeLimit(facts, answers);
  if (id === 'time' && limit !== undefined && (time ?? 0) > limit)
    return `The partition allows ${formatDuration(limit)} at most.`;
  const largest = largestNode(facts, answers);
  if (id === 'cpus' && largest.cpus !== undefined && (cpus ?? 0) > largest.cpus)
    return `The largest node has ${largest.cpus} CPUs.`;
  if (id === 'memory' && largest.memory !== undefined && (memory ?? 0) > largest.memory)
    return `The largest node has ${Math.floor(largest.memory / 1024)} GB.`;
  const gpus = gpusFor(facts, answers)?.filter(({ type }) => gpu?.type === undefined || gpu.type === type);
  const all = gpus?.reduce((sum, { total }) => sum + total, 0);
  if (id === 'gpu' && all !== undefined && (gpu?.count ?? 0) > all) return `There are ${all}.`;
  return undefined;
}
