/** Bytes of main memory by what they are meant for. */
export interface MemoryPlan {
  total_bytes: number;
  model_budget_bytes: number;
  daemon_limits: Record<string, number>;
}

export interface Shares {
  models: number;
  daemons: number;
  rest: number;
  /** Where each part lies in a bar of width 100. */
  bars: { tone: 'one' | 'two' | 'three'; from: number; width: number }[];
}

/**
 * Divides the memory for the picture. Limits are upper bounds and may add up to more than there
 * is; the picture then shows them up to its edge and nothing is left over.
 */
export function shares(plan: MemoryPlan): Shares {
  const models = Math.max(0, plan.model_budget_bytes);
  const daemons = Object.values(plan.daemon_limits).reduce((sum, limit) => sum + limit, 0);
  const rest = Math.max(0, plan.total_bytes - models - daemons);
  let from = 0;
  const bars = ([['one', models], ['two', daemons], ['three', rest]] as const).map(([tone, part]) => {
    const width = plan.total_bytes > 0 ? Math.min((part / plan.total_bytes) * 100, 100 - from) : 0;
    const bar = { tone, from, width };
    from += width;
    return bar;
  });
  return { models, daemons, rest, bars };
}
