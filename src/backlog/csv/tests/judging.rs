//! What a header makes of rows, and that a look says what a judgement says.

use proptest::prelude::*;

use super::super::header::Header;
use super::super::judge::{Look, stored_values};
use super::super::reader::sniff;
use super::super::row::Row;
use super::*;
use crate::job::{Problem, Request, RequestId};

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
    judge_of(Kinds::built_in(), header, default_kind)
}

fn judge_of(kinds: Kinds, header: &str, default_kind: Option<&str>) -> Judge {
    let header = Header::parse(&rows(header)[0]).unwrap();
    let sites = Allowlist::new(vec![SiteRule::try_new("a.example.com", vec![]).unwrap()]);
    Judge::new(header, kinds, sites, default_kind.map(str::to_owned))
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
fn columns_that_a_kind_needs() {
    assert_eq!(header_faults("id,url,sitekey\n", Some("hcaptcha")), "");
    assert!(
        header_faults("id,url\n", Some("hcaptcha"))
            .contains("no column `website_key` (or `websiteKey`")
    );
    assert!(
        header_faults("url,page_url,sitekey\n", Some("hcaptcha")).contains("stands beside `url`")
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
    let mut judge = judge_of(Kinds::built_in().for_protocol("v2"), header, None);
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

fn cell() -> impl Strategy<Value = String> {
    let plain = prop::sample::select(vec![
        "",
        " ",
        "a",
        "k1",
        "hcaptcha",
        "recaptcha-v2",
        "nope",
        "true",
        "NO",
        "maybe",
        "\0",
        "\u{7f}",
        "é",
        "\u{a0}",
        "https://a.example.com",
        "https://a.example.com/x?y=1",
        "https://b.example.com/a b",
        "https://A.example.com/",
        "https://pinned.example.org/",
        "https://evil.net/",
        "https://a.example.com/../x",
        " https://a.example.com/%2e/ ",
        "https://a.example.com:443/",
    ]);
    prop_oneof![
        8 => plain.prop_map(str::to_owned),
        1 => "https://(a|b|pinned)\\.example\\.(com|org)[/?#]{0,2}[ -~é]{0,8}",
        1 => "[a-zé\t]{0,5}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    /// A row that is looked at, one that is judged, and one whose fields are validated the long way, by a list
    /// without a memory.
    #[test]
    fn a_look_says_what_the_long_way_says(
        table in prop::collection::vec(prop::collection::vec(cell(), 5), 1..12),
        has_default: bool,
    ) {
        let rule = |host: &str, keys: &[&str]| {
            SiteRule::try_new(host, keys.iter().map(|k| (*k).to_owned()).collect()).unwrap()
        };
        let sites = Allowlist::new(vec![rule("*.example.com", &[]), rule("pinned.example.org", &["k1"])]);
        let quote = |cells: &[String]| {
            let cells: Vec<_> = cells.iter().map(|c| format!("\"{}\"", c.replace('"', "\"\""))).collect();
            cells.join(",") + "\n"
        };
        let text: String = table.iter().map(|cells| quote(cells)).collect();
        let text = format!("id,job,url,sitekey,invisible\n{text}");
        let mut reader = sniff(text.as_bytes(), None).unwrap();
        let mut row = Row::default();
        prop_assert!(reader.read(&mut row).unwrap());
        let header = Header::parse(&row).unwrap();
        let default = has_default.then(|| "recaptcha-v2".to_owned());
        let mut judge = Judge::new(header, Kinds::built_in(), sites.clone(), default.clone());
        for cells in &table {
            prop_assert!(reader.read(&mut row).unwrap());
            let judged = judge.judge(&row);
            for hashes in [true, false] {
                let Look { own_id, verdict } = judge.look(&row, hashes);
                prop_assert_eq!(own_id, judged.own_id.as_ref().map(|id| id.as_str()));
                match (&verdict, &judged.request) {
                    (Ok(good), Ok(request)) => {
                        prop_assert_eq!(good.fields, hashes.then(|| request.fields_hash()));
                        prop_assert_eq!(judge.kind_name(good.plan), &request.kind().name);
                    }
                    (Err(a), Err(b)) => prop_assert_eq!(format!("{a:?}"), format!("{b:?}")),
                    _ => prop_assert!(false, "{verdict:?} is not {:?}", judged.request),
                }
            }
            let name = match cells[1].trim() {
                "" => default.as_deref().unwrap_or_default(),
                name => name,
            };
            let is_text = cells.iter().all(|cell| !cell.contains('\0'));
            let id = RequestId::try_new(&cells[0]);
            let (Some(kind), Some(id), true) = (kind(name), id, is_text) else {
                prop_assert!(judged.request.is_err());
                continue;
            };
            let field = |n: usize| Some(cells[n + 2].as_str());
            let long = Request::validate(id, &kind, field, &sites);
            match (long, &judged.request) {
                (Ok(long), Ok(request)) => {
                    prop_assert_eq!(long.values(), request.values());
                    prop_assert_eq!(long.fields_hash(), request.fields_hash());
                }
                (Err(long), Err(fault)) => prop_assert_eq!(&long, &fault.problem),
                (long, request) => prop_assert!(false, "{long:?} is not {request:?}"),
            }
        }
    }
}

fn kind(name: &str) -> Option<std::sync::Arc<crate::job::Kind>> {
    Kinds::built_in().get(name).cloned()
}
