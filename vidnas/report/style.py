"""How the page looks, and what a browser may do with it."""

from vidnas.report.picture import FONT

# Even if a name slipped through unescaped, a browser would run and fetch nothing.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = f"""
:root {{ color-scheme: light; }}
body {{ margin: 0; background: #f4f6f9; color: #1f2430; font: 15px/1.55 {FONT}; }}
main {{ max-width: 1120px; margin: 0 auto; padding: 36px 24px 60px; }}
h1 {{ font-size: 30px; line-height: 1.2; margin: 0 0 4px; }}
h2 {{ font-size: 19px; margin: 0 0 6px; }}
h3 {{ font-size: 15px; margin: 18px 0 6px; }}
p {{ margin: 4px 0 12px; max-width: 75ch; }}
.muted {{ color: #5f6877; }}
.verdict {{ font-size: 19px; line-height: 1.45; margin: 18px 0 20px; max-width: 62ch; font-weight: 600; }}
section, .card {{ background: #fff; border: 1px solid #e1e5ec; border-radius: 12px; }}
section {{ padding: 22px 26px; margin: 18px 0; overflow-x: auto; }}
.cards {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(164px, 1fr)); gap: 12px; }}
.card {{ padding: 13px 16px; }}
.card b {{ display: block; font-size: 20px; line-height: 1.35; white-space: nowrap; }}
.card span {{ display: block; line-height: 1.35; }}
.card span {{ color: #5f6877; font-size: 13px; }}
.row {{ display: flex; flex-wrap: wrap; gap: 10px 48px; align-items: flex-start; }}
.wide {{ flex: 1 1 460px; }}
.grid {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(400px, 1fr)); gap: 10px; }}
svg {{ max-width: 100%; height: auto; display: block; }}
.full svg {{ min-width: 620px; }}
table {{ border-collapse: collapse; font-size: 14px; }}
td, th {{ text-align: left; padding: 4px 18px 4px 0; border-bottom: 1px solid #eceff4; vertical-align: top; }}
th {{ color: #5f6877; font-weight: 600; }}
td.number, th.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
table.strips {{ width: 100%; table-layout: fixed; }}
table.strips td {{ padding: 1px 8px 1px 0; border: 0; vertical-align: middle; }}
.strip {{ display: flex; gap: 2px; }}
.strip span {{ flex: 1 1 0; min-width: 0; padding: 1px 3px; font-size: 12px; line-height: 1.4; text-align: center;
  border-radius: 4px; border: 2px solid transparent; white-space: nowrap; overflow: hidden; }}
.strip i {{ font-style: normal; opacity: .72; }}
.strip .chosen {{ border-color: #1f2430; font-weight: 600; }}
pre {{ background: #f4f6f9; border-radius: 8px; padding: 12px 14px; overflow-x: auto; font-size: 13px;
  margin: 6px 0 12px; }}
details {{ margin: 12px 0 0; }}
summary {{ cursor: pointer; color: #2468b0; }}
@media print {{ body {{ background: #fff; }} section {{ break-inside: avoid; }} }}
"""
