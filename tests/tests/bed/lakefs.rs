//! The fake lakeFS server answers as the real one was recorded to.

use millrace_tests::{
    lakefs::{ACCESS_KEY, FakeLakefs, SECRET_KEY},
    lakes::{ALL, Lake},
};
use serde_json::{Value, json};

struct Caller(FakeLakefs, reqwest::Client);

impl Caller {
    fn of(lake: &Lake) -> Self {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build();
        Self(FakeLakefs::start(lake), client.unwrap())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.bytes(path).await;
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn bytes(&self, path: &str) -> (u16, Vec<u8>) {
        let request = self.1.get(format!("{}/api/v1{path}", self.0.endpoint()));
        let answer = request.basic_auth(ACCESS_KEY, Some(SECRET_KEY)).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }
}

#[tokio::test]
async fn every_recorded_exchange_is_answered_as_it_was() {
    for name in ALL {
        let lake = Lake::named(name);
        let caller = Caller::of(&lake);
        let text = std::fs::read_to_string(lake.dir().join("api.jsonl")).unwrap_or_default();
        for line in text.lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            let method = record["method"].as_str().unwrap().parse().unwrap();
            let url = format!("{}/api/v1{}", caller.0.endpoint(), record["path"].as_str().unwrap());
            let pairs = record["query"].as_object().unwrap();
            let query: Vec<_> = pairs
                .iter()
                .map(|(name, value)| (name, value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
                .collect();
            let mut request = caller.1.request(method, url).query(&query);
            if record["auth"] == true {
                request = request.basic_auth(ACCESS_KEY, Some(SECRET_KEY));
            }
            if !record["request"].is_null() {
                request = request.json(&record["request"]);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status().as_u16(), record["status"], "{name} {line}");
            let body = answer.bytes().await.unwrap();
            if let Some(length) = record["body_len"].as_u64() {
                assert_eq!(millrace_tests::tree::sha256_hex(&body), record["body_sha256"]);
                assert_eq!(body.len() as u64, length);
            } else if let Some(expected) = record.get("body") {
                assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), *expected, "{name} {line}");
            }
        }
    }
}

#[tokio::test]
async fn refs_that_were_not_recorded_are_computed() {
    let lake = Lake::named("orders");
    let caller = Caller::of(&lake);
    let id = |label: &str| lake.commit(label).id.clone();
    for (reference, label) in [
        ("v1", "load"),
        ("dev", "dev-site"),
        ("main~2^2", "dev-site"),
        ("main~3", "metadata-only"),
        ("v2~1", "load"),
        ("main^0", "head"),
    ] {
        let (status, body) = caller.get(&format!("/repositories/orders/commits/{}", reference.replace('^', "%5E"))).await;
        assert_eq!((status, body["id"].as_str()), (200, Some(id(label).as_str())), "{reference}");
    }
    let short = format!("/repositories/orders/commits/{}", &id("day4")[..8]);
    assert_eq!(caller.get(&short).await.1["id"], id("day4"));
    assert_eq!(caller.get("/repositories/orders/commits/nothing~1").await, (404, json!({"message": "commit not found"})));
    assert_eq!(caller.get("/repositories/orders/tags/v9").await.0, 404);

    let writes = Caller::of(&Lake::named("writes"));
    let merge = "d95b08abc1c160bd3f22c7d6e8daae973969c71b628830b3f98aeeab3cd22d27";
    assert_eq!(writes.get("/repositories/writes/commits/t2").await.1["id"], merge, "known from an answer only");

    let path = "/repositories/orders/refs/main/commits?amount=2&after=";
    let (_, first) = caller.get(path).await;
    let next = first["pagination"]["next_offset"].as_str().unwrap();
    let (_, second) = caller.get(&format!("{path}{next}")).await;
    assert_eq!(second["results"][0]["id"], id("merged"));
    assert_eq!(second["results"][1]["generation"], 4);
}

#[tokio::test]
async fn tables_come_through_the_server_and_by_presigned_links() {
    let lake = Lake::named("orders");
    let caller = Caller::of(&lake);
    let id = &lake.commit("head").meta_range_id;
    let path = format!("/repositories/orders/metadata/object/meta_range/{id}");
    let (status, body) = caller.bytes(&path).await;
    assert_eq!((status, body), (200, std::fs::read(lake.namespace().join("_lakefs").join(id)).unwrap()));
    let answer = caller.1.get(format!("{}/api/v1{path}?presign=true", caller.0.endpoint()));
    let answer = answer.basic_auth(ACCESS_KEY, Some(SECRET_KEY)).send().await.unwrap();
    let link = answer.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(caller.1.get(link).send().await.unwrap().status().as_u16(), 200);
}

#[tokio::test]
async fn a_test_can_move_branches_script_answers_and_break_the_server() {
    let lake = Lake::named("orders");
    let caller = Caller::of(&lake);
    let branch = "/repositories/orders/branches/main";
    caller.0.set_branch("main", &lake.commit("day4").id);
    assert_eq!(caller.get(branch).await.1["commit_id"], lake.commit("day4").id);
    assert_eq!(caller.get("/repositories/orders/commits/main").await.1["id"], lake.commit("day4").id);
    caller.0.script("GET", branch, 1, 503, &json!({"message": "later"}));
    assert_eq!(caller.get(branch).await.0, 503);
    assert_eq!(caller.get(branch).await.0, 200);
    caller.0.hide_storage();
    assert_eq!(caller.get("/repositories/orders").await.1["storage_namespace"], "s3://out-of-reach/orders");
    caller.0.set_broken(true);
    assert_eq!(caller.get(branch).await.0, 500);
    assert_eq!(caller.0.log().iter().map(|asked| asked.status).collect::<Vec<_>>(), [200, 200, 503, 200, 200, 500]);
    caller.0.set_down(true);
    assert!(caller.1.get(caller.0.endpoint()).send().await.is_err());
}
