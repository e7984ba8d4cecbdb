"""A document as one HTML file that needs no network: `page_of` in `page.py`. plotly.js within it draws the charts."""
