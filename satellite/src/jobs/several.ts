import type { QueuedJob, Scheduler } from './scheduler.ts';

/**
 * Several schedulers of one site as one, which knows the jobs of all. A reporter for each would declare the others' jobs
 * gone. While one can't be seen nothing is said of any.
 */
export function several(schedulers: readonly Scheduler[]): Scheduler {
  return {
    async queue(stop) {
      const answers = await Promise.all(schedulers.map((scheduler) => scheduler.queue(stop)));
      const jobs: QueuedJob[] = [];
      for (const answer of answers) {
        if (!answer.ok) return answer;
        jobs.push(...answer.jobs);
      }
      return { ok: true, jobs };
    },

    async finalState(id, stop) {
      for (const scheduler of schedulers) {
        const answer = await scheduler.finalState(id, stop);
        if (!answer.ok || answer.state !== null) return answer;
      }
      return { ok: true, state: null };
    },
  };
}
