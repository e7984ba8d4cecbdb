"""A document as one HTML file that needs no network: `page_of` in `page.py`. Charts are drawn by plotly.js within it."""
