//! Long lines become several.

/// Spaces before what goes on in the next line, more than the line itself has.
const HANGING: usize = 4;

/// `line` in lines of at most `width` characters, as far as its words allow; colours take no room. Tables fit already and have
/// to stay as they are, so a line that fits is not touched.
pub(super) fn wrap(line: &str, width: usize) -> Vec<String> {
    if visible(line) <= width {
        return vec![line.to_owned()];
    }
    let indent = line.len() - line.trim_start_matches(' ').len();
    let mut lines = Vec::new();
    let mut current = " ".repeat(indent);
    let mut empty = true;
    for word in line.split_whitespace() {
        if !empty && visible(&current) + 1 + visible(word) > width {
            lines.push(std::mem::replace(&mut current, " ".repeat(indent + HANGING)));
            empty = true;
        }
        if !empty {
            current.push(' ');
        }
        current.push_str(word);
        empty = false;
    }
    lines.push(current);
    lines
}

/// Characters that are seen: all but the escape sequences of colours.
fn visible(text: &str) -> usize {
    let mut escaped = false;
    let seen = text.chars().filter(|character| {
        let was_escaped = escaped;
        escaped = *character == '\x1b' || (escaped && *character != 'm');
        !was_escaped && !escaped
    });
    seen.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_fits_is_not_touched() {
        assert_eq!(wrap("  a    b", 8), ["  a    b"]);
    }

    #[test]
    fn a_long_line_goes_on_below_and_further_in() {
        assert_eq!(wrap("  one two three", 9), ["  one two", "      three"]);
    }

    #[test]
    fn colours_take_no_room() {
        assert_eq!(visible("\x1b[32mbetter\x1b[0m µs"), 9);
    }
}
