//! Tells code from comments and literals in Rust source. Not a parser: just enough that a word in a
//! string or a comment is not taken for code.

/// A file with its comments and literals taken out.
#[derive(Debug)]
pub struct Lexed {
    /// The source with every character of a comment or a literal replaced by a space. Lines stay,
    /// so positions are those of the source.
    pub code: String,
    pub comments: Vec<Comment>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Comment {
    /// From 1.
    pub first_line: usize,
    pub last_line: usize,
    pub text: String,
}

impl Lexed {
    pub fn new(source: &str) -> Self {
        let mut lexer = Lexer {
            source: source.chars().collect(),
            position: 0,
            line: 1,
            code: String::with_capacity(source.len()),
            comments: Vec::new(),
        };
        while lexer.step() {}
        Self { code: lexer.code, comments: lexer.comments }
    }

    /// The lines (from 1) on which this word stands as code.
    pub fn lines_with_word(&self, word: &str) -> impl Iterator<Item = usize> {
        self.code
            .lines()
            .enumerate()
            .filter(move |(_, line)| words(line).any(|(_, found)| found == word))
            .map(|(index, _)| index + 1)
    }

    /// The comment that covers a line, if one does.
    pub fn comment_on(&self, line: usize) -> Option<&Comment> {
        self.comments
            .iter()
            .find(|comment| (comment.first_line..=comment.last_line).contains(&line))
    }
}

/// Identifiers and numbers of a line of code, with what stands before them.
pub fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    line.split(|c: char| !is_word(c))
        .filter(|word| !word.is_empty())
        .map(move |word| (word.as_ptr() as usize - line.as_ptr() as usize, word))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

struct Lexer {
    source: Vec<char>,
    position: usize,
    line: usize,
    code: String,
    comments: Vec<Comment>,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.source.get(self.position + ahead).copied()
    }

    fn starts_with(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(index, c)| self.peek(index) == Some(c))
    }

    /// Takes one character, as code or blanked.
    fn take(&mut self, is_code: bool) -> Option<char> {
        let c = self.peek(0)?;
        self.position += 1;
        if c == '\n' {
            self.line += 1;
        }
        self.code.push(if is_code || c == '\n' { c } else { ' ' });
        Some(c)
    }

    fn blank(&mut self, count: usize) {
        for _ in 0..count {
            self.take(false);
        }
    }

    /// Takes the next piece; false at the end.
    fn step(&mut self) -> bool {
        let Some(c) = self.peek(0) else { return false };
        if self.starts_with("//") {
            self.line_comment();
        } else if self.starts_with("/*") {
            self.block_comment();
        } else if c == '"' {
            self.string();
        } else if c == '\'' {
            self.quote();
        } else if is_word(c) {
            self.word();
        } else {
            self.take(true);
        }
        true
    }

    fn line_comment(&mut self) {
        let mut text = String::new();
        while let Some(c) = self.peek(0).filter(|c| *c != '\n') {
            text.push(c);
            self.take(false);
        }
        self.comments.push(Comment { first_line: self.line, last_line: self.line, text });
    }

    /// They nest.
    fn block_comment(&mut self) {
        let (first_line, start) = (self.line, self.position);
        let mut depth = 0;
        loop {
            if self.starts_with("/*") {
                depth += 1;
                self.blank(2);
            } else if self.starts_with("*/") {
                depth -= 1;
                self.blank(2);
            } else if self.take(false).is_none() {
                break;
            }
            if depth == 0 {
                break;
            }
        }
        let text = self.source[start..self.position].iter().collect();
        self.comments.push(Comment { first_line, last_line: self.line, text });
    }

    fn string(&mut self) {
        self.blank(1);
        while let Some(c) = self.take(false) {
            match c {
                '\\' => self.blank(1),
                '"' => break,
                _ => {}
            }
        }
    }

    /// `"` after `r` and any number of `#`.
    fn raw_string(&mut self, hashes: usize) {
        self.blank(hashes + 1);
        let end = format!("\"{}", "#".repeat(hashes));
        while !self.starts_with(&end) && self.take(false).is_some() {}
        self.blank(end.len());
    }

    /// A character or a lifetime. `'a'` is a character, `'a` a lifetime, `'\''` a character.
    fn quote(&mut self) {
        match (self.peek(1), self.peek(2)) {
            (Some('\\'), _) => {
                self.blank(3);
                while self.take(false).is_some_and(|c| c != '\'') {}
            }
            (Some(_), Some('\'')) => self.blank(3),
            _ => {
                self.take(true);
            }
        }
    }

    /// An identifier or number, or the prefix of a literal.
    fn word(&mut self) {
        let length = (0..).take_while(|ahead| self.peek(*ahead).is_some_and(is_word)).count();
        let word: String = self.source[self.position..self.position + length].iter().collect();
        let hashes = (length..).take_while(|ahead| self.peek(*ahead) == Some('#')).count();
        let quoted = self.peek(length + hashes) == Some('"');
        match word.as_str() {
            "r" | "br" | "cr" if quoted => {
                self.blank(length);
                self.raw_string(hashes);
            }
            "b" | "c" if quoted && hashes == 0 => {
                self.blank(length);
                self.string();
            }
            _ => {
                for _ in 0..length {
                    self.take(true);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left as code, with runs of spaces made one.
    fn check(source: &str, expect: &str) {
        let code = Lexed::new(source).code;
        assert_eq!(code.chars().count(), source.chars().count(), "positions moved in {source:?}");
        let code = code.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(code, expect, "{source:?}");
    }

    #[test]
    fn comments_are_not_code() {
        check("a // unsafe\nb", "a b");
        check("a /* unsafe /* nested */ still */ b", "a b");
        check("/// unsafe\n//! unsafe\nfn f() {}", "fn f() {}");
        check("a /* not closed", "a");
        check("a / b", "a / b");
    }

    #[test]
    fn literals_are_not_code() {
        check(r#"f("unsafe {", x)"#, "f( , x)");
        check(r#"f("\"unsafe\\", x)"#, "f( , x)");
        check(r##"f(r#"a " unsafe"#, x)"##, "f( , x)");
        check(r#"f(b"unsafe", br"unsafe\", c"unsafe", x)"#, "f( , , , x)");
        check("f(\"two\nlines\", x)", "f( , x)");
        check(r#""not closed"#, "");
        check(r#"f("// no comment")"#, "f( )");
    }

    #[test]
    fn characters_are_not_lifetimes() {
        check("fn f<'a>(x: &'a str) -> char { 'x' }", "fn f<'a>(x: &'a str) -> char { }");
        check(r"m('\'', '\\', '\u{1F600}', '/', '\n')", "m( , , , , )");
        check(r#"m('"', unsafe_word, '"')"#, "m( , unsafe_word, )");
        check("b'x' 'label: loop {}", "b 'label: loop {}");
    }

    #[test]
    fn raw_identifiers_are_code() {
        check("r#type r#unsafe bar r # x", "r#type r#unsafe bar r # x");
    }

    #[test]
    fn words_are_whole() {
        let lexed =
            Lexed::new("#![forbid(unsafe_code)]\nunsafe { x }\nlet not_unsafe = 1; // unsafe\n");
        assert_eq!(lexed.lines_with_word("unsafe").collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn comments_know_their_lines() {
        let lexed = Lexed::new("a\n// one\n/* two\nthree */ b\n");
        let lines: Vec<_> = lexed.comments.iter().map(|c| (c.first_line, c.last_line)).collect();
        assert_eq!(lines, [(2, 2), (3, 4)]);
        assert!(lexed.comment_on(4).is_some_and(|comment| comment.text.contains("three")));
        assert_eq!(lexed.comment_on(1), None);
    }
}
