//! The input's header, and what it makes of a row.
//!
//! What must stay true: a row is judged by the header's names alone, never by the order of columns; the
//! same function judges it in the check, in the run, and when a job is adopted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::job::{
    Allowlist, Kind, Kinds, Micros, Place, Problem, RESULT_COLUMNS, Request, RequestId, Value,
};

use super::reader::Row;
use super::rows::Fits;

/// A header, checked.
#[derive(Clone, Debug)]
pub(super) struct Header {
    /// The columns' names, trimmed, in the file's order.
    pub(super) names: Vec<String>,
    id: Option<usize>,
    job: Option<usize>,
}

/// A problem of a row or of the header, before its file and line are put to it.
#[derive(Debug)]
pub(super) struct Fault {
    /// The column's name in this file.
    pub(super) column: Option<String>,
    pub(super) problem: Problem,
    /// The header is at fault, not the row: told once, and not for each row.
    pub(super) is_of_header: bool,
}

impl Fault {
    pub(super) fn new(column: Option<&str>, problem: Problem) -> Self {
        Self {
            column: column.map(str::to_owned),
            problem,
            is_of_header: false,
        }
    }

    pub(super) fn malformed(column: Option<&str>, why: impl Into<String>) -> Self {
        Self::new(column, Problem::Malformed(why.into()))
    }
}

impl Header {
    /// Takes a header row.
    pub(super) fn parse(row: &Row) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        if let Some(fault) = row.fault {
            return Err(vec![Fault::malformed(None, fault)]);
        }
        let mut names: Vec<String> = Vec::with_capacity(row.len());
        let mut places = HashMap::new();
        for cell in row.iter() {
            let Some(name) = text(cell).map(str::trim) else {
                faults.push(Fault::malformed(
                    None,
                    format!(
                        "column {} has a name that is no UTF-8 text",
                        names.len() + 1
                    ),
                ));
                names.push(String::new());
                continue;
            };
            let shown = name.escape_debug();
            if RESULT_COLUMNS.contains(&name) {
                let why = "is a result column of pollwheel's; rename it or leave it out".to_owned();
                faults.push(Fault::malformed(Some(&shown.to_string()), why));
            } else if let Some(first) = places.insert(name, names.len()) {
                let why = format!(
                    "stands twice, as columns {} and {}",
                    first + 1,
                    names.len() + 1
                );
                faults.push(Fault::malformed(Some(&shown.to_string()), why));
            }
            names.push(name.to_owned());
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let position = |name: &str| names.iter().position(|n| n == name);
        Ok(Self {
            id: position("id"),
            job: position("job"),
            names,
        })
    }

    /// Whether rows have ids of their own.
    pub(super) fn has_ids(&self) -> bool {
        self.id.is_some()
    }

    /// Names that look like a column of ours, and are not.
    pub(super) fn warnings(&self) -> Vec<String> {
        let near = |ours: &str, has: bool| {
            let found = self
                .names
                .iter()
                .find(|n| !has && n.eq_ignore_ascii_case(ours))?;
            Some(format!(
                "column `{}` is not `{ours}`, and is passed through only",
                found.escape_debug()
            ))
        };
        [
            near("id", self.id.is_some()),
            near("job", self.job.is_some()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Where a kind's columns stand in a header.
#[derive(Clone, Debug)]
struct Plan {
    kind: Arc<Kind>,
    cells: Vec<Option<usize>>,
}

/// What a row is.
#[derive(Debug)]
pub(super) struct Judged {
    /// The id it brings, where that is acceptable.
    pub(super) own_id: Option<RequestId>,
    /// The request. Where the input has no ids, it still has a stand-in for one.
    pub(super) request: Result<Request, Fault>,
}

/// Judges rows.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) header: Header,
    kinds: Kinds,
    sites: Allowlist,
    default_kind: Option<String>,
    plans: BTreeMap<String, Result<Plan, String>>,
    /// Faults of the header that rows of some kind have brought to light, each told once.
    pub(super) header_faults: Vec<Fault>,
    stand_in: RequestId,
    /// What else a row must be good for.
    pub(super) fits: Option<Fits>,
}

impl Judge {
    /// A judge of rows under this header. Faults that are seen without any row go to `header_faults`.
    pub(super) fn new(
        header: Header,
        kinds: Kinds,
        sites: Allowlist,
        default_kind: Option<String>,
    ) -> Self {
        let stand_in =
            RequestId::try_new("-").unwrap_or_else(|| unreachable!("one character is an id"));
        let plans = BTreeMap::new();
        let mut judge = Self {
            header,
            kinds,
            sites,
            default_kind,
            plans,
            header_faults: Vec::new(),
            stand_in,
            fits: None,
        };
        match (&judge.default_kind, judge.header.job) {
            (None, None) => judge.header_faults.push(Fault::new(None, Problem::NoKind)),
            (Some(name), job) => {
                if let Err(problem) = judge.kinds.find(name) {
                    judge.header_faults.push(Fault::new(None, problem));
                } else if job.is_none() {
                    // Its columns must be there. With a `job` column no row may ever fall back to it.
                    let name = name.clone();
                    judge.plan(&name);
                }
            }
            (None, Some(_)) => {}
        }
        judge
    }

    /// Judges a row.
    pub(super) fn judge(&mut self, row: &Row) -> Judged {
        let id_cell = self.header.id.and_then(|n| row.get(n)).and_then(text);
        let own_id = id_cell.and_then(RequestId::try_new);
        let mut request = self.request(row, own_id.clone());
        if let (Ok(good), Some(fits)) = (&request, self.fits)
            && let Err(why) = fits(&self.header.good_row(row, good))
        {
            request = Err(Fault::malformed(None, why));
        }
        Judged { own_id, request }
    }

    fn request(&mut self, row: &Row, own_id: Option<RequestId>) -> Result<Request, Fault> {
        if let Some(fault) = row.fault {
            return Err(Fault::malformed(None, fault));
        }
        if row.len() != self.header.names.len() {
            let why = format!(
                "has {} cells, the header {}",
                row.len(),
                self.header.names.len()
            );
            return Err(Fault::malformed(None, why));
        }
        if let Some(n) = row.iter().position(|cell| text(cell).is_none()) {
            let why = if row.get(n).is_some_and(|c| c.contains(&0)) {
                "holds a NUL byte"
            } else {
                "is not UTF-8"
            };
            return Err(Fault::malformed(Some(&self.header.names[n]), why));
        }
        let cell = |n: usize| row.get(n).and_then(text);
        let id = match (self.header.id, own_id) {
            (Some(_), None) => return Err(Fault::new(Some("id"), Problem::BadId)),
            (_, id) => id.unwrap_or_else(|| self.stand_in.clone()),
        };
        let named = self
            .header
            .job
            .and_then(cell)
            .map(str::trim)
            .filter(|name| !name.is_empty());
        let Some(name) = named.or(self.default_kind.as_deref()) else {
            return Err(Fault::new(Some("job"), Problem::NoKind));
        };
        if !self.plans.contains_key(name) {
            if let Err(problem) = self.kinds.find(name) {
                return Err(Fault::new(Some("job"), problem));
            }
            let name = name.to_owned();
            self.plan(&name);
        }
        let name = named.or(self.default_kind.as_deref()).unwrap_or_default();
        match self.plans.get(name) {
            Some(Ok(plan)) => Request::validate(
                id,
                &plan.kind,
                |n| plan.cells[n].and_then(cell),
                &self.sites,
            )
            .map_err(|problem| {
                let column = problem.column().map(|name| {
                    let n = plan.kind.column(name).and_then(|n| plan.cells[n]);
                    n.map_or(name, |n| self.header.names[n].as_str()).to_owned()
                });
                Fault {
                    column,
                    problem,
                    is_of_header: false,
                }
            }),
            Some(Err(why)) => Err(Fault {
                is_of_header: true,
                ..Fault::malformed(None, why.clone())
            }),
            None => Err(Fault::new(None, Problem::NoKind)),
        }
    }

    /// Finds a kind's columns in the header, once.
    fn plan(&mut self, name: &str) {
        let Some(kind) = self.kinds.get(name) else {
            return;
        };
        let mut cells = Vec::with_capacity(kind.columns.len());
        let mut faults = Vec::new();
        if let Some(problem) = self.kinds.not_spoken(kind) {
            faults.push(Fault::new(None, problem));
        }
        let names = self.header.names.iter().map(String::as_str);
        for (n, (column, Place { first, second })) in
            kind.columns.iter().zip(kind.places(&names)).enumerate()
        {
            if let (Some(a), Some(b)) = (first, second) {
                let (a, b) = (&self.header.names[a], &self.header.names[b]);
                faults.push(Fault::malformed(Some(b), kind.means_the_same(n, a)));
            }
            if first.is_none() && column.required {
                let others: String = column.aliases.iter().map(|a| format!(", `{a}`")).collect();
                let why = format!(
                    "there is no column `{}`{}, which {name} needs",
                    column.name,
                    match others.as_str() {
                        "" => String::new(),
                        others => format!(" (or {})", &others[2..]),
                    }
                );
                faults.push(Fault::malformed(None, why));
            }
            cells.push(first);
        }
        let plan = match faults.first() {
            None => Ok(Plan {
                kind: Arc::clone(kind),
                cells,
            }),
            Some(fault) => Err(match &fault.column {
                Some(column) => format!("column `{column}` {}", fault.problem),
                None => fault.problem.to_string(),
            }),
        };
        self.header_faults.append(&mut faults);
        self.plans.insert(name.to_owned(), plan);
    }

    /// Sets the prices of kinds.
    pub(super) fn set_prices(&mut self, prices: &BTreeMap<String, Micros>) {
        self.kinds.set_prices(prices);
        for (name, plan) in &mut self.plans {
            if let (Ok(plan), Some(kind)) = (plan, self.kinds.get(name)) {
                plan.kind = Arc::clone(kind);
            }
        }
    }

    /// Whether there is such a kind.
    pub(super) fn knows(&self, kind: &str) -> bool {
        self.kinds.get(kind).is_some()
    }

    /// A request of the journal's, judged anew: its values by the names of its kind's columns.
    pub(super) fn judge_stored(
        &self,
        id: RequestId,
        kind: &str,
        values: &str,
    ) -> Result<Request, Problem> {
        let kind = self.kinds.find(kind)?;
        let values: BTreeMap<String, String> = serde_json::from_str(values)
            .map_err(|_| Problem::Malformed("the journal's copy cannot be read".to_owned()))?;
        Request::validate(
            id,
            kind,
            |n| values.get(&kind.columns[n].name).map(String::as_str),
            &self.sites,
        )
    }
}

/// A request's values as the journal keeps them: a JSON object by the names of the kind's columns.
pub(super) fn stored_values(request: &Request) -> String {
    let columns = request.kind().columns.iter().zip(request.values());
    let values: BTreeMap<&str, String> = columns
        .filter_map(|(column, value)| {
            let value = match value.as_ref()? {
                Value::Text(text) => text.clone(),
                Value::Bool(yes) => yes.to_string(),
            };
            Some((column.name.as_str(), value))
        })
        .collect();
    serde_json::json!(values).to_string()
}

/// A cell as text, if it is.
pub(super) fn text(cell: &[u8]) -> Option<&str> {
    std::str::from_utf8(cell)
        .ok()
        .filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::super::reader::sniff;
    use super::*;
    use crate::job::SiteRule;

    fn rows(text: &str) -> Vec<Row> {
        let mut reader = sniff(text.as_bytes(), None).unwrap();
        let mut all = Vec::new();
        let mut row = Row::default();
        while reader.read(&mut row).unwrap() {
            all.push(row.clone());
        }
        all
    }

    fn judge(header: &str, default_kind: Option<&str>) -> Judge {
        let header = Header::parse(&rows(header)[0]).unwrap();
        let sites = Allowlist::new(vec![SiteRule::try_new("a.example.com", vec![]).unwrap()]);
        Judge::new(
            header,
            Kinds::built_in(),
            sites,
            default_kind.map(str::to_owned),
        )
    }

    fn header_faults(header: &str, default_kind: Option<&str>) -> String {
        let faults = judge(header, default_kind).header_faults;
        faults
            .iter()
            .map(|f| f.problem.to_string())
            .collect::<Vec<_>>()
            .join("|")
    }

    #[test]
    fn headers_that_cannot_be_used() {
        for (header, why) in [
            ("id,url,url\n", "stands twice, as columns 2 and 3"),
            ("id,url,token\n", "result column"),
            ("id, status \n", "result column"),
            ("id,a\0b\n", "no UTF-8 text"),
            ("id,\"a\n", "never closed"),
        ] {
            let faults = Header::parse(&rows(header)[0]).unwrap_err();
            assert!(
                faults[0].problem.to_string().contains(why),
                "{header}: {faults:?}"
            );
        }
    }

    #[test]
    fn columns_that_a_kind_needs() {
        assert_eq!(header_faults("id,url,sitekey\n", Some("hcaptcha")), "");
        assert!(
            header_faults("id,url\n", Some("hcaptcha"))
                .contains("no column `website_key` (or `websiteKey`")
        );
        assert!(
            header_faults("url,page_url,sitekey\n", Some("hcaptcha"))
                .contains("stands beside `url`")
        );
        assert!(header_faults("url,sitekey\n", None).contains("--job"));
        assert!(header_faults("url,sitekey\n", Some("nope")).contains("unknown job kind"));
        assert_eq!(
            header_faults("job,url\n", None),
            "",
            "no row has asked for a kind yet"
        );
    }

    #[test]
    fn a_kind_that_does_not_speak_the_protocol_is_told_once() {
        let header = "job,url,sitekey\n";
        let all = rows(&format!(
            "{header}recaptcha-v2,https://a.example.com/,k\nhcaptcha,https://a.example.com/,k\nhcaptcha,https://a.example.com/,l\n"
        ));
        let mut judge = judge(header, None);
        judge.kinds = judge.kinds.for_protocol("v2");
        let judged: Vec<_> = all[1..].iter().map(|row| judge.judge(row)).collect();
        assert!(judged[0].request.is_ok());
        let of_header = |n: usize| judged[n].request.as_ref().unwrap_err().is_of_header;
        assert!(of_header(1) && of_header(2));
        assert_eq!(judge.header_faults.len(), 1);
        let problem = &judge.header_faults[0].problem;
        assert!(matches!(problem, Problem::NotSpoken { kind, .. } if kind == "hcaptcha"));
    }

    #[test]
    fn a_bad_row_names_the_files_own_column() {
        let mut judge = judge("id,job,url,sitekey\n", None);
        let all = rows(
            "id,job,url,sitekey\na,hcaptcha,https://x@y/,k\nb,,https://a.example.com,k\nc,hcaptcha\n,hcaptcha,https://a.example.com,k\nd,hcaptcha,https://a.example.com/,k\n",
        );
        let faults: Vec<_> = all[1..]
            .iter()
            .map(|row| judge.judge(row).request.err())
            .collect();
        assert_eq!(faults[0].as_ref().unwrap().column.as_deref(), Some("url"));
        assert!(matches!(
            faults[1].as_ref().unwrap().problem,
            Problem::NoKind
        ));
        assert_eq!(
            faults[2].as_ref().unwrap().problem.to_string(),
            "has 2 cells, the header 4"
        );
        assert!(matches!(
            faults[3].as_ref().unwrap().problem,
            Problem::BadId
        ));
        assert!(faults[4].is_none());
        assert_eq!(judge.judge(&all[3]).own_id.unwrap().as_str(), "c");
    }

    #[test]
    fn a_stored_request_is_the_request() {
        let mut judge = judge("url,sitekey,invisible\n", Some("recaptcha-v2"));
        let row = &rows("url,sitekey,invisible\nHTTPS://a.example.com/a b,k,yes\n")[1];
        let request = judge.judge(row).request.unwrap();
        let id = RequestId::try_new("x").unwrap();
        let again = judge
            .judge_stored(id, "recaptcha-v2", &stored_values(&request))
            .unwrap();
        assert_eq!(again.fields_hash(), request.fields_hash());
    }
}
