//! A bounded run of the fuzz target `requests`.

#[path = "../../../tests/fuzz/mutate.rs"]
mod mutate;

/// One request of every API, with as many fields as it has.
const CORPUS: [&str; 7] = [
    r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},{"role":"tool","tool_call_id":"1","content":"x"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"tool_choice":"auto","temperature":0.5,"top_p":0.9,"seed":1,"stop":["a"],"logit_bias":{"1":2},"logprobs":true,"top_logprobs":3,"response_format":{"type":"json_schema","json_schema":{"schema":{}}},"stream":true,"stream_options":{"include_usage":true},"keep_alive":"5m"}"#,
    r#"{"model":"m","prompt":["a","b"],"max_tokens":5,"logprobs":2,"echo":true,"suffix":"","n":1}"#,
    r#"{"model":"m","input":["a","b"],"encoding_format":"base64","dimensions":3}"#,
    r#"{"model":"m","instructions":"s","input":[{"role":"user","content":[{"type":"input_text","text":"hi"}]},{"type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"x"}]},{"type":"function_call","call_id":"1","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"1","output":"x"}],"tools":[{"type":"function","name":"f","parameters":{"type":"object"}},{"type":"namespace","name":"n","tools":[{"type":"custom","name":"g"}]}],"tool_choice":{"type":"custom","name":"g"},"text":{"format":{"type":"json_schema","name":"s","schema":{}}},"reasoning":{"effort":"low"},"include":["message.output_text.logprobs"],"store":false,"stream":true}"#,
    r#"{"model":"m","messages":[{"role":"user","content":"hi","images":[]},{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":{}}}]}],"tools":[{"function":{"name":"f"}}],"format":"json","options":{"num_predict":3,"temperature":1,"stop":"x"},"think":"high","keep_alive":-1}"#,
    r#"{"model":"m","prompt":"hi","system":"s","raw":false,"format":{"type":"object"},"options":{},"context":[1]}"#,
    r#"{"model":"m","max_tokens":5,"system":[{"type":"text","text":"s"}],"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"x","is_error":true}]},{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{}}]}],"tools":[{"name":"f","input_schema":{}}],"tool_choice":{"type":"any"},"thinking":{"type":"enabled","budget_tokens":5}}"#,
];

#[test]
fn mutated_requests_are_refused_or_translated() {
    let corpus: Vec<Vec<u8>> = CORPUS.iter().map(|text| text.as_bytes().to_vec()).collect();
    for input in &corpus {
        assert!(booster_agent::fuzzing::requests(input) > 0, "{}", String::from_utf8_lossy(input));
    }
    mutate::run(&corpus, 3, 30_000, 4_000, |bytes| {
        booster_agent::fuzzing::requests(bytes);
    });
}
