"""The style sheet of pages: the report's one, and the console's. It fetches nothing, and follows light and dark."""

SHEET = """
:root { color-scheme: light dark; --ink: #1f2328; --paper: #fff; --soft: #59636e; --line: #d9dde2; --panel: #f6f8fa;
  --good: #00694c; --bad: #b00020; --open: #7a5200; --rate: #0072b2 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --soft: #9aa4af; --line: #30363d;
  --panel: #161b22; --good: #3fcf9f; --bad: #ff7b86; --open: #e3b341; --rate: #56b4e9 } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 72rem;
  margin: 1.5rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2rem 0 .3rem }
h1, .summary, .verdict { overflow-wrap: anywhere }
.note { color: var(--soft); margin: .2rem 0 .6rem; font-size: .9rem }
.verdict { background: var(--panel); border-left: 6px solid var(--open); padding: .8rem 1rem; margin: 1rem 0 }
.verdict.good { border-color: var(--good) } .verdict.bad { border-color: var(--bad) }
.verdict b { display: block; font-size: 1.6rem; line-height: 1.2; color: var(--open) }
.good b { color: var(--good) } .bad b { color: var(--bad) }
.verdict .effect { font-size: 1.15rem; margin: .4rem 0 }
.facts { display: flex; flex-wrap: wrap; gap: .3rem 1.6rem; margin: .5rem 0 0; padding: 0; list-style: none;
  color: var(--soft); font-size: .9rem }
.summary p { margin: .4rem 0 } .day { white-space: nowrap }
.alarm { color: var(--bad); font-weight: 600 }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 0 2rem }
.plots .note { text-wrap: balance }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums }
th { text-align: right; font-weight: 600; border-bottom: 1px solid var(--soft); vertical-align: bottom }
td { text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap }
th, td { padding: .3rem .7rem }
th:first-child, td:first-child { text-align: left; padding-left: 0 }
th:first-child, td:first-child { background: var(--paper); position: sticky; left: 0 }
td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 7rem; max-width: 20rem }
th.left, td.left { text-align: left }
td.text { white-space: normal; text-align: left; min-width: 18rem }
svg { width: 100%; height: auto; max-width: 36rem }
@media screen and (max-width: 40rem) {
  .cards, .cards tbody, .cards tr { display: block }
  .cards { overflow-wrap: anywhere } .cards thead { display: none }
  .cards tr { border: 1px solid var(--line); border-radius: 8px; padding: .4rem .7rem; margin: .6rem 0 }
  .cards td, .cards td:first-child { display: grid; grid-template-columns: 8rem minmax(0, 1fr); gap: 0 .7rem;
    padding: .1rem 0; border: 0; position: static; text-align: left; white-space: normal; min-width: 0;
    max-width: none }
  .cards td::before { content: attr(data-label); color: var(--soft) }
}
details { margin-top: 1rem } summary { cursor: pointer; font-weight: 600 }
"""
