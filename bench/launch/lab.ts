import { LabError, status } from '../../lab/lab.ts';

/** Why nothing can be launched in the lab; undefined where it can. */
export function labProblem(): string | undefined {
  const advice = 'This launches in the lab: npm run lab -- up';
  try {
    return status().up ? undefined : `The lab is not up. ${advice}`;
  } catch (error) {
    if (error instanceof LabError) return `${error.message} ${advice}`;
    throw error;
  }
}
