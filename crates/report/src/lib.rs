//! The result schema, SVG figures and HTML pages that every Gradus command shares
