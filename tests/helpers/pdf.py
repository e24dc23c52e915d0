"""PDF files of a few words."""

from pathlib import Path


def write_pdf(path: Path, *texts: str) -> None:
    """A PDF file with a page of one line for each text."""
    kids = " ".join(f"{3 + 2 * n} 0 R" for n in range(len(texts)))
    objects = ["<</Type/Catalog/Pages 2 0 R>>", f"<</Type/Pages/Kids[{kids}]/Count {len(texts)}>>"]
    for n, text in enumerate(texts):
        font = "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
        page = "<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 100]"
        objects.append(f"{page}/Resources<</Font<</F {font}>>>>/Contents {4 + 2 * n} 0 R>>")
        drawn = f"BT /F 12 Tf 10 50 Td ({text}) Tj ET"
        objects.append(f"<</Length {len(drawn)}>>stream\n{drawn}\nendstream")
    written, starts = "%PDF-1.4\n", []
    for n, one in enumerate(objects, 1):
        starts.append(len(written))
        written += f"{n} 0 obj\n{one}\nendobj\n"
    table = "".join(f"{start:010} 00000 n \n" for start in starts)
    count = len(objects) + 1
    trailer = f"trailer<</Size {count}/Root 1 0 R>>\nstartxref\n{len(written)}\n%%EOF"
    path.write_text(f"{written}xref\n0 {count}\n0000000000 65535 f \n{table}{trailer}")
