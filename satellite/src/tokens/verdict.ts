import { jobState } from '../jobs/states.ts';
import type { JobRecord, TokenRecord } from './record.ts';

/** What the end of a job says about its session. */
export function verdict(job: JobRecord, wasMapped: boolean): Pick<TokenRecord, 'phase' | 'reason'> {
  const state = jobState(job.state);
  if (state?.clean && wasMapped) return { phase: 'ended', reason: state.text };
  const reason = state?.bare ? 'The job ended before Jupyter was ready.' : (state?.text ?? null);
  return { phase: 'failed', reason };
}
