//! Types of T-SQL, as they are declared and as columns announce them.

use super::lexer::Token;

/// A type, without whether it can be NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// tinyint, smallint, int, bigint: 1, 2, 4 or 8 bytes.
    Int(u8),
    /// bit
    Bit,
    /// numeric with its precision and scale: no fraction is simulated.
    Numeric(u8, u8),
    /// float: 8 bytes; real: 4.
    Float(u8),
    /// nvarchar of so many characters; 0: max.
    NVarChar(u16),
    /// varchar of so many characters; 0: max.
    VarChar(u16),
    /// nchar
    NChar(u16),
    /// char
    Char(u16),
    /// varbinary of so many bytes; 0: max.
    VarBinary(u16),
    /// binary
    Binary(u16),
    /// uniqueidentifier
    Guid,
    /// datetime
    DateTime,
    /// datetime2 with its scale.
    DateTime2(u8),
    /// `sql_variant`, always with a text in it here.
    Variant,
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnType {
    /// Its type.
    pub kind: Kind,
    /// Whether it can be NULL: what cannot is sent as a fixed type (recorded).
    pub nullable: bool,
}

impl ColumnType {
    /// A type that can be NULL.
    pub(crate) fn null(kind: Kind) -> Self {
        ColumnType { kind, nullable: true }
    }
    /// A type that cannot be NULL.
    pub(crate) fn required(kind: Kind) -> Self {
        ColumnType { kind, nullable: false }
    }
}

/// The length that stands for `max` where a number has to stand.
pub(crate) const MAX: u16 = u16::MAX;

impl Kind {
    /// A type by its name and what stands in its parentheses.
    pub(crate) fn named(name: &str, numbers: &[u16]) -> Option<Kind> {
        let first = numbers.first().copied();
        let length = |absent: u16| first.map_or(absent, |n| if n == MAX { 0 } else { n });
        let byte = |n: Option<u16>, absent: u8| n.map_or(absent, |n| u8::try_from(n).unwrap_or(absent));
        Some(match name.to_ascii_lowercase().as_str() {
            "tinyint" => Kind::Int(1),
            "smallint" => Kind::Int(2),
            "int" | "integer" => Kind::Int(4),
            "bigint" => Kind::Int(8),
            "bit" => Kind::Bit,
            "numeric" | "decimal" | "dec" => Kind::Numeric(byte(first, 18), byte(numbers.get(1).copied(), 0)),
            "float" => Kind::Float(8),
            "real" => Kind::Float(4),
            "nvarchar" => Kind::NVarChar(length(1)),
            "sysname" => Kind::NVarChar(128),
            "varchar" => Kind::VarChar(length(1)),
            "nchar" => Kind::NChar(length(1)),
            "char" => Kind::Char(length(1)),
            "varbinary" => Kind::VarBinary(length(1)),
            "binary" => Kind::Binary(length(1)),
            "uniqueidentifier" => Kind::Guid,
            "datetime" => Kind::DateTime,
            "datetime2" => Kind::DateTime2(byte(first, 7)),
            "sql_variant" => Kind::Variant,
            _ => return None,
        })
    }

    /// A type at the beginning of tokens, and how many of them it takes.
    pub(crate) fn of(t: &[Token]) -> Option<(Kind, usize)> {
        let name = t.first()?.ident()?;
        if !t.get(1).is_some_and(|x| x.sign("(")) {
            return Kind::named(name, &[]).map(|k| (k, 1));
        }
        let close = t.iter().position(|x| x.sign(")"))?;
        let numbers: Vec<u16> = t
            .get(2..close)?
            .iter()
            .filter_map(|x| match x {
                Token::Number(n) => n.parse().ok(),
                Token::Word(w) if w.eq_ignore_ascii_case("max") => Some(MAX),
                Token::Word(_) | Token::Name(_) | Token::Text(_) | Token::Sign(_) => None,
            })
            .collect();
        Kind::named(name, &numbers).map(|k| (k, close + 1))
    }

    /// A type as it is written: `nvarchar(128)`.
    pub(crate) fn parse(text: &str) -> Option<Kind> {
        let (name, rest) = text.split_once('(').unwrap_or((text, ""));
        let numbers: Vec<u16> = rest
            .trim_end_matches(')')
            .split(',')
            .filter_map(|n| if n.trim() == "max" { Some(MAX) } else { n.trim().parse().ok() })
            .collect();
        Kind::named(name.trim(), &numbers)
    }

    /// How SQLite is told of a column of this type. What it makes of the name decides how it stores values: numbers as numbers,
    /// texts as texts, and numerics as texts, which have no bounds.
    pub(crate) fn declared(self, nullable: bool) -> String {
        let length = |n: u16| if n == 0 { MAX } else { n };
        let name = match self {
            Kind::Int(1) => "tinyint".into(),
            Kind::Int(2) => "smallint".into(),
            Kind::Int(8) => "bigint".into(),
            Kind::Int(_) => "int".into(),
            Kind::Bit => "bit".into(),
            Kind::Numeric(p, s) => format!("numchar({p},{s})"),
            Kind::Float(4) => "real".into(),
            Kind::Float(_) => "float".into(),
            Kind::NVarChar(n) => format!("nvarchar({})", length(n)),
            Kind::VarChar(n) => format!("varchar({})", length(n)),
            Kind::NChar(n) => format!("nchar({n})"),
            Kind::Char(n) => format!("char({n})"),
            Kind::VarBinary(n) => format!("varbinary({})", length(n)),
            Kind::Binary(n) => format!("binary({n})"),
            Kind::Guid => "uniqueidentifier".into(),
            Kind::DateTime => "datetime".into(),
            Kind::DateTime2(s) => format!("datetime2({s})"),
            Kind::Variant => "sql_variant".into(),
        };
        if nullable { name } else { format!("required {name}") }
    }

    /// Whether it is a text.
    pub(crate) fn is_text(self) -> bool {
        matches!(self, Kind::NVarChar(_) | Kind::VarChar(_) | Kind::NChar(_) | Kind::Char(_))
    }
}

impl ColumnType {
    /// What [`Kind::declared`] has written.
    pub(crate) fn declared(text: &str) -> Option<ColumnType> {
        let (nullable, text) = match text.strip_prefix("required ") {
            Some(rest) => (false, rest),
            None => (true, text),
        };
        let kind = match text.strip_prefix("numchar") {
            Some(rest) => Kind::parse(&format!("numeric{rest}")),
            None => Kind::parse(text),
        }?;
        Some(ColumnType { kind, nullable })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sqlite_is_told_is_read_back() {
        for (text, nullable) in [
            ("nvarchar(128)", false),
            ("nvarchar(max)", true),
            ("numeric(25,0)", true),
            ("datetime2(3)", false),
            ("smallint", false),
            ("sql_variant", true),
        ] {
            let kind = Kind::parse(text).unwrap();
            assert_eq!(
                ColumnType::declared(&kind.declared(nullable)),
                Some(ColumnType { kind, nullable }),
                "{text}"
            );
        }
        assert_eq!(Kind::parse("numeric(25,0)"), Some(Kind::Numeric(25, 0)));
        assert_eq!(Kind::parse("geography"), None);
    }
}
