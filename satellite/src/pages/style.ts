/** The one style sheet. One accent colour; light and dark; motion only where it is wanted. */
export const style = `
:root { color-scheme: light dark; --paper: #fbfaf7; --ink: #1d2427; --soft: #5b666b; --line: #dcdad2; --accent: #0b6e75; --alert: #c2410c; }
@media (prefers-color-scheme: dark) { :root { --paper: #14191b; --ink: #e8ebe9; --soft: #9ba8ac; --line: #2e3639; --accent: #5cc6cc; --alert: #fb923c; } }
*, ::before, ::after { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; min-height: 100dvh; grid-template-rows: 1fr auto; background: var(--paper); color: var(--ink); font: 1.0625rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; display: grid; place-items: center; padding: 2rem 1.5rem; }
main { width: 100%; max-width: 33rem; }
svg { display: block; width: 4.5rem; height: 4.5rem; margin: 0 0 1.75rem -0.25rem; overflow: visible; }
.orbit { fill: none; stroke: var(--line); stroke-width: 1.5; }
.planet { fill: var(--ink); }
.moon { fill: var(--accent); transform-origin: 36px 36px; transform: rotate(-50deg); }
[data-kind=ended] .moon, [data-kind=failed] .moon, [data-kind=unknown] .moon { fill: none; stroke: var(--soft); stroke-width: 1.5; }
[data-kind=failed] .orbit, [data-kind=trouble] .orbit, [data-kind=busy] .orbit, [data-kind=unknown] .orbit { stroke-dasharray: 3 5; }
h1 { font-size: clamp(1.75rem, 6vw, 2.375rem); line-height: 1.15; letter-spacing: -0.02em; font-weight: 650; margin: 0 0 0.75rem; text-wrap: balance; }
#status { font-size: 1.1875rem; margin: 0 0 1.75rem; text-wrap: pretty; overflow-wrap: anywhere; }
p { margin: 0 0 1rem; }
:not(pre) > code { white-space: nowrap; }
a { color: var(--accent); }
.start { border-left: 3px solid var(--accent); padding: 0.125rem 0 0.125rem 1rem; font-variant-numeric: tabular-nums; }
.start span { display: block; color: var(--soft); font-size: 0.9375rem; }
ul { margin: 0 0 1rem; padding-left: 1.25rem; overflow-wrap: anywhere; }
#lost, #asked { font-size: 0.9375rem; }
#asked { color: var(--soft); }
#lost { border-left: 3px solid var(--alert); padding: 0.125rem 0 0.125rem 1rem; }
#lost:empty, #asked:empty { margin: 0; padding: 0; border: 0; }
button { display: block; margin: 0 0 1rem; font: inherit; font-size: 0.9375rem; color: var(--ink); background: none; border: 1.5px solid var(--accent); border-radius: 0.5rem; padding: 0.5rem 1rem; min-height: 2.75rem; cursor: pointer; }
button:hover { background: color-mix(in srgb, var(--accent) 12%, transparent); }
label { display: block; margin: 0 0 1rem; font-size: 0.9375rem; color: var(--soft); }
input { display: block; width: 100%; margin-top: 0.25rem; font: inherit; font-size: 1.0625rem; color: var(--ink); background: none; border: 1.5px solid var(--soft); border-radius: 0.5rem; padding: 0.5rem 0.75rem; min-height: 2.75rem; }
.fault { border-left: 3px solid var(--alert); padding: 0.125rem 0 0.125rem 1rem; }
[hidden] { display: none; }
dl { display: flex; flex-wrap: wrap; gap: 0.25rem 2rem; margin: 0 0 1rem; color: var(--soft); font-size: 0.9375rem; }
dl div { display: flex; gap: 0.5rem; }
dd { margin: 0; color: var(--ink); font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.note { color: var(--soft); font-size: 0.9375rem; border-top: 1px solid var(--line); padding-top: 1rem; margin-top: 1.75rem; }
.steps { list-style: none; margin: 0 0 1.75rem; padding: 0; }
.steps li { position: relative; padding: 0 0 1.125rem 2rem; color: var(--soft); }
.steps li::before { content: ""; position: absolute; left: 0.1875rem; top: 0.375rem; width: 0.875rem; height: 0.875rem; border-radius: 50%; border: 1.5px solid var(--soft); background: var(--paper); }
.steps li:not(:last-child)::after { content: ""; position: absolute; left: calc(0.625rem - 0.75px); top: 1.25rem; bottom: -0.375rem; width: 1.5px; background: var(--line); }
.steps .done { color: var(--ink); }
.steps .done::before { background: var(--accent); border-color: var(--accent); }
.steps .done::after { background: var(--accent) !important; }
.steps .now { color: var(--ink); font-weight: 600; }
.steps .now::before { border: 3.5px solid var(--accent); }
pre { margin: 0 0 1.25rem; padding: 0.75rem 1rem; background: color-mix(in srgb, var(--ink) 6%, transparent); border-radius: 0.5rem; font: 0.9375rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
.reason { max-height: 16rem; overflow-y: auto; font-size: 0.8125rem; }
footer { width: 100%; max-width: 33rem; display: flex; flex-wrap: wrap; gap: 0.25rem 1.5rem; color: var(--soft); font-size: 0.9375rem; padding-top: 2rem; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (prefers-reduced-motion: no-preference) {
  [data-kind=waiting] .moon, [data-kind=queued] .moon { animation: orbit 9s linear infinite; }
  [data-kind=starting] .moon, [data-kind=live] .moon, [data-kind=trouble] .moon { animation: orbit 3s linear infinite; }
  @keyframes orbit { from { transform: rotate(-50deg); } to { transform: rotate(310deg); } }
}
@media (forced-colors: active) { .steps .done::before, .orbit, .planet, .moon { forced-color-adjust: none; } }
@media print {
  :root { color-scheme: light; --paper: #fff; --ink: #000; --soft: #444; }
  body { display: block; min-height: 0; padding: 0; }
  .reason { max-height: none; }
  svg, button, .note { display: none; }
}
`;
