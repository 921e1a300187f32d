//! Plots as SVG: axes, lines, bands, dots and markers. No script is needed to see them; the page's script reads places back
//! into values for whoever points at them.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::scale::{Scale, Spread, Unit};

/// A figure: its caption, its axes and what is drawn between them.
#[derive(Debug)]
pub(super) struct Plot {
    /// Above it.
    pub(super) title: String,
    /// For those who cannot see it: what it shows, in a sentence or two.
    pub(super) description: String,
    /// To the right.
    pub(super) x: Axis,
    /// Upwards.
    pub(super) y: Axis,
    /// From back to front.
    pub(super) layers: Vec<Layer>,
    /// Its size.
    pub(super) size: Size,
}

/// How much room a plot takes: it is scaled to its column, this decides how large text and lines are in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// Half of the page.
    Half,
    /// A quarter of it.
    Quarter,
}

impl Size {
    fn dimensions(self) -> (f64, f64) {
        match self {
            Self::Half => (520.0, 310.0),
            Self::Quarter => (260.0, 190.0),
        }
    }
}

/// An axis as a plot asks for it.
#[derive(Debug)]
pub(super) struct Axis {
    /// Beside it.
    pub(super) label: &'static str,
    /// How values are laid out.
    pub(super) spread: Spread,
    /// What they mean.
    pub(super) unit: Unit,
    /// Its ends, if the layers should not decide.
    pub(super) ends: Option<(f64, f64)>,
    /// Ticks, if their own should not be used: places and what is written there.
    pub(super) ticks: Option<Vec<(f64, String)>>,
}

impl Axis {
    /// An axis that fits what is drawn.
    pub(super) fn new(label: &'static str, spread: Spread, unit: Unit) -> Self {
        Self { label, spread, unit, ends: None, ticks: None }
    }
}

/// Whose a layer is: decides its colour. The null server is grey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Colour(pub(super) &'static str);

/// Something that is drawn.
#[derive(Debug)]
pub(super) enum Layer {
    /// A line through points; a gap where y has no place.
    Line {
        /// For legend and read-outs.
        name: String,
        /// Whose.
        colour: Colour,
        /// How it is drawn.
        stroke: Stroke,
        /// An entry of the legend that lines of several subjects share, instead of one of its own: what the stroke means.
        shared: Option<&'static str>,
        /// The points, by x.
        points: Vec<(f64, f64)>,
    },
    /// The room between two curves.
    Band {
        /// Whose.
        colour: Colour,
        /// x, low, high.
        points: Vec<(f64, f64, f64)>,
    },
    /// Single points.
    Dots {
        /// For legend and read-outs.
        name: String,
        /// Whose.
        colour: Colour,
        /// They do not count.
        hollow: bool,
        /// The points.
        points: Vec<(f64, f64)>,
    },
    /// An upright line with words at it.
    Marker {
        /// The words.
        name: String,
        /// Whose.
        colour: Colour,
        /// Where.
        x: f64,
        /// The words' line, from above: markers that are close to each other have different ones.
        row: u8,
    },
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stroke {
    /// What the plot is about.
    Solid,
    /// Something beside it.
    Dashed,
    /// For comparison.
    Dotted,
}

impl Stroke {
    fn class(self) -> &'static str {
        match self {
            Self::Solid => "solid",
            Self::Dashed => "dashed",
            Self::Dotted => "dotted",
        }
    }
}

/// Room around the plot for ticks and labels.
const MARGIN: Margin = Margin { top: 24.0, right: 14.0, bottom: 40.0, left: 58.0 };

struct Margin {
    top: f64,
    right: f64,
    bottom: f64,
    left: f64,
}

/// A plot whose axes are settled.
struct Frame {
    width: f64,
    height: f64,
    x: Scale,
    y: Scale,
}

impl Plot {
    /// The figure; empty if there is nothing to be seen.
    pub(super) fn render(&self, id: &str) -> Markup {
        let Some(frame) = self.frame() else { return html! {} };
        let (title, description) = (format!("{id}-t"), format!("{id}-d"));
        html! {
            figure class=(if self.size == Size::Half { "plot" } else { "plot quarter" }) {
                figcaption { strong { (self.title) } (self.legend()) }
                svg viewBox={ "0 0 " (frame.width) " " (frame.height) } role="img"
                    aria-labelledby={ (title) " " (description) }
                    data-x=(axis_data(&frame.x, self.x.unit)) data-y=(axis_data(&frame.y, self.y.unit))
                    data-frame={ (MARGIN.left) " " (MARGIN.top) " " (frame.right()) " " (frame.bottom()) } {
                    title id=(title) { (self.title) }
                    desc id=(description) { (self.description) }
                    (self.grid(&frame))
                    @for layer in &self.layers { (layer.render(&frame)) }
                }
            }
        }
    }

    fn frame(&self) -> Option<Frame> {
        let (width, height) = self.size.dimensions();
        let (right, bottom) = (width - MARGIN.right, height - MARGIN.bottom);
        let points = || self.layers.iter().flat_map(Layer::extent);
        // A large plot starts at zero: a cut axis makes much of little. The small ones of the rounds are there for the little.
        let zero = (self.size == Size::Half && self.y.spread == Spread::Linear).then_some(0.0);
        let (xs, ys) = (points().filter_map(|(x, _)| x), points().filter_map(|(_, y)| y).chain(zero));
        points().next()?;
        let (across, upwards) = ((MARGIN.left, right), (bottom, MARGIN.top));
        let x = match self.x.ends {
            Some(ends) => Scale::exact(self.x.spread, ends, across),
            None => Scale::span(self.x.spread, xs, across)?,
        };
        let y = match self.y.ends {
            Some(ends) => Scale::exact(self.y.spread, ends, upwards),
            None => Scale::fit(self.y.spread, ys, upwards)?,
        };
        Some(Frame { width, height, x, y })
    }

    fn grid(&self, frame: &Frame) -> Markup {
        let (about_x, about_y) = if self.size == Size::Half { (7, 6) } else { (4, 4) };
        // 66.7 % is no share that anybody asks for: a quantile's ticks are powers of ten.
        let about_x = if self.x.unit == Unit::Quantile { 0 } else { about_x };
        let xs = self.x.ticks.clone().unwrap_or_else(|| ticks(&frame.x, self.x.unit, about_x));
        let ys = self.y.ticks.clone().unwrap_or_else(|| ticks(&frame.y, self.y.unit, about_y));
        let (left, right, top, bottom) = (MARGIN.left, frame.right(), MARGIN.top, frame.bottom());
        html! {
            g class="grid" aria-hidden="true" {
                @for (place, text) in placed(&frame.x, xs) {
                    line x1=(place) x2=(place) y1=(num(top)) y2=(num(bottom)) {}
                    text x=(place) y=(num(bottom + 15.0)) text-anchor="middle" { (text) }
                }
                @for (place, text) in placed(&frame.y, ys) {
                    line x1=(num(left)) x2=(num(right)) y1=(place) y2=(place) {}
                    text x=(num(left - 6.0)) y=(place) dy="0.32em" text-anchor="end" { (text) }
                }
                text class="label" x=(num(right)) y=(num(frame.height - 6.0)) text-anchor="end" { (self.x.label) " →" }
                @if !self.y.label.is_empty() { text class="label" x="2" y="11" { "↑ " (self.y.label) } }
            }
        }
    }

    fn legend(&self) -> Markup {
        let mut entries: Vec<(&str, Colour, &str)> = Vec::new();
        for layer in &self.layers {
            let Some(entry) = layer.key() else { continue };
            // Dots on a line are the line's.
            if !entries.iter().any(|(name, _, _)| *name == entry.0) {
                entries.push(entry);
            }
        }
        html! {
            @for (name, colour, kind) in entries {
                span class={ "key " (colour.0) " " (kind) } { i {} (name) }
            }
        }
    }
}

impl Frame {
    fn right(&self) -> f64 {
        self.width - MARGIN.right
    }

    fn bottom(&self) -> f64 {
        self.height - MARGIN.bottom
    }

    fn point(&self, (x, y): (f64, f64)) -> Option<(f64, f64)> {
        Some((self.x.place(x)?, self.y.place(y)?))
    }
}

fn ticks(scale: &Scale, unit: Unit, about: usize) -> Vec<(f64, String)> {
    scale.ticks(about).into_iter().map(|value| (value, unit.tick(value))).collect()
}

fn placed(scale: &Scale, ticks: Vec<(f64, String)>) -> Vec<(String, String)> {
    ticks.into_iter().filter_map(|(value, text)| Some((num(scale.place(value)?), text))).collect()
}

/// What the script needs to read places back into values.
fn axis_data(scale: &Scale, unit: Unit) -> String {
    let (low, high) = scale.ends();
    format!("{} {low} {high} {}", if scale.is_log() { "log" } else { "linear" }, unit.name())
}

/// A place, to a tenth: finer than a pixel.
fn num(place: f64) -> String {
    let text = format!("{place:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

impl Layer {
    /// The values that the axes have to make room for.
    fn extent(&self) -> Vec<(Option<f64>, Option<f64>)> {
        let both = |(x, y): &(f64, f64)| (Some(*x), Some(*y));
        match self {
            Self::Line { points, .. } | Self::Dots { points, .. } => points.iter().map(both).collect(),
            Self::Band { points, .. } => points
                .iter()
                .flat_map(|(x, low, high)| [(Some(*x), Some(*low)), (Some(*x), Some(*high))])
                .collect(),
            Self::Marker { x, .. } => vec![(Some(*x), None)],
        }
    }

    /// Its entry in the legend: name, colour and kind. Bands belong to a line, markers say what they are, and what does not count
    /// is told beside the plot.
    fn key(&self) -> Option<(&str, Colour, &'static str)> {
        match self {
            Self::Line { stroke, shared: Some(shared), .. } => Some((shared, Colour("ink"), stroke.class())),
            Self::Line { name, colour, stroke, shared: None, .. } => Some((name, *colour, stroke.class())),
            Self::Dots { name, colour, hollow: false, .. } => Some((name, *colour, "dots")),
            Self::Dots { .. } | Self::Band { .. } | Self::Marker { .. } => None,
        }
    }

    fn render(&self, frame: &Frame) -> Markup {
        match self {
            Self::Line { name, colour, stroke, points, .. } => html! {
                path class={ "line " (colour.0) " " (stroke.class()) } data-name=(name) d=(path(frame, points)) {}
            },
            Self::Band { colour, points } => {
                html! { path class={ "band " (colour.0) } d=(band(frame, points)) {} }
            }
            Self::Dots { name, colour, hollow, points } => html! {
                @for (x, y) in points.iter().filter_map(|point| frame.point(*point)) {
                    circle class={ "dot " (colour.0) @if *hollow { " hollow" } } data-name=(name) cx=(num(x)) cy=(num(y)) r="3.5" {}
                }
            },
            Self::Marker { name, colour, x, row } => marker(frame, name, *colour, *x, *row),
        }
    }
}

fn marker(frame: &Frame, name: &str, colour: Colour, x: f64, row: u8) -> Markup {
    let Some(place) = frame.x.place(x) else { return html! {} };
    // Words stay inside: to the left of a marker that is in the right half.
    let (anchor, beside) = if place > frame.width / 2.0 { ("end", -5.0) } else { ("start", 5.0) };
    html! {
        g class={ "marker " (colour.0) } {
            line x1=(num(place)) x2=(num(place)) y1=(num(MARGIN.top)) y2=(num(frame.bottom())) {}
            text x=(num(place + beside)) y=(num(MARGIN.top + 12.0 + 15.0 * f64::from(row))) text-anchor=(anchor) { (name) }
        }
    }
}

/// A path through the points; it breaks off where a point has no place.
fn path(frame: &Frame, points: &[(f64, f64)]) -> String {
    let mut data = String::new();
    let mut pen_down = false;
    for point in points {
        let Some((x, y)) = frame.point(*point) else {
            pen_down = false;
            continue;
        };
        let _ = write!(data, "{}{} {}", if pen_down { 'L' } else { 'M' }, num(x), num(y));
        pen_down = true;
    }
    data
}

/// Along the upper curve and back along the lower; points without a place are left out.
fn band(frame: &Frame, points: &[(f64, f64, f64)]) -> String {
    let placed =
        |(x, low, high): &(f64, f64, f64)| Some((frame.point((*x, *low))?, frame.point((*x, *high))?));
    let (lower, upper): (Vec<_>, Vec<_>) = points.iter().filter_map(placed).unzip();
    let mut data = String::new();
    for (x, y) in upper.into_iter().chain(lower.into_iter().rev()) {
        let _ = write!(data, "{}{} {}", if data.is_empty() { 'M' } else { 'L' }, num(x), num(y));
    }
    if !data.is_empty() {
        data.push('Z');
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(layers: Vec<Layer>) -> Plot {
        Plot {
            title: "a <b>".to_owned(),
            description: "about".to_owned(),
            x: Axis::new("seconds", Spread::Linear, Unit::Seconds),
            y: Axis::new("latency", Spread::Log, Unit::Micros),
            layers,
            size: Size::Half,
        }
    }

    fn line(points: Vec<(f64, f64)>) -> Layer {
        Layer::Line {
            name: "x & y".to_owned(),
            colour: Colour("c0"),
            stroke: Stroke::Solid,
            shared: None,
            points,
        }
    }

    #[test]
    fn a_line_breaks_off_where_a_value_has_no_place() {
        let page = plot(vec![line(vec![(0.0, 10.0), (1.0, 100.0), (2.0, 0.0), (3.0, 10.0)])])
            .render("p")
            .into_string();
        let data = page.split(" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(data.matches('M').count(), 2, "{data}");
        assert_eq!(data.matches('L').count(), 1, "{data}");
    }

    #[test]
    fn names_and_titles_are_escaped() {
        let page = plot(vec![line(vec![(0.0, 10.0), (1.0, 20.0)])]).render("p").into_string();
        assert!(page.contains("a &lt;b&gt;") && page.contains("x &amp; y"), "{page}");
        assert!(!page.contains("<b>"), "{page}");
    }

    #[test]
    fn a_plot_of_nothing_is_not_drawn() {
        assert_eq!(plot(vec![line(vec![(0.0, 0.0)])]).render("p").into_string(), "");
        assert_eq!(plot(Vec::new()).render("p").into_string(), "");
    }

    #[test]
    fn a_band_closes() {
        let layer = Layer::Band { colour: Colour("c0"), points: vec![(0.0, 10.0, 20.0), (1.0, 10.0, 20.0)] };
        let page = plot(vec![layer]).render("p").into_string();
        assert!(page.contains("Z\""), "{page}");
    }
}
