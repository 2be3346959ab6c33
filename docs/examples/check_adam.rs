// Checks an Adam written in Rust against refopt's test vectors. The standard library alone, no crates:
//   refopt vectors write adam -o adam.json && rustc -O check_adam.rs && ./check_adam adam.json
// Also takes the other dialects of adam, and adamw. Exit status: 0 agrees, 1 differs, 2 not such a file.
// It does not verify the file's checksum, which would want a SHA-256: `refopt vectors check` and check_adam.js do.
use std::{collections::BTreeMap, env, fs, process};

#[derive(Clone, Debug)]
enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

fn fail(status: i32, text: &str) -> ! {
    eprintln!("{text}");
    process::exit(status)
}

impl Json {
    fn get(&self, name: &str) -> &Json {
        match self {
            Json::Object(map) => map.get(name).unwrap_or(&Json::Null),
            _ => &Json::Null,
        }
    }

    fn list(&self) -> &[Json] {
        if let Json::List(items) = self { items } else { &[] }
    }

    fn text(&self) -> &str {
        if let Json::Text(text) = self { text } else { "" }
    }

    // A list of hexadecimal floats.
    fn floats(&self) -> Vec<f64> {
        self.list().iter().map(|v| from_hex(v.text())).collect()
    }
}

// A reader of JSON: enough for a file of test vectors, whose texts have no escapes but \" and \\.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&mut self) -> u8 {
        while self.at < self.bytes.len() && self.bytes[self.at].is_ascii_whitespace() {
            self.at += 1;
        }
        *self.bytes.get(self.at).unwrap_or_else(|| fail(2, "the file ends too early"))
    }

    fn wants(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte;
        self.at += found as usize;
        found
    }

    fn string(&mut self) -> String {
        let mut out = Vec::new();
        self.at += 1;
        while self.at < self.bytes.len() && self.bytes[self.at] != b'"' {
            self.at += (self.bytes[self.at] == b'\\') as usize;
            out.push(self.bytes[self.at]);
            self.at += 1;
        }
        self.at += 1;
        String::from_utf8(out).unwrap_or_else(|_| fail(2, "not UTF-8"))
    }

    fn value(&mut self) -> Json {
        match self.peek() {
            b'"' => Json::Text(self.string()),
            b'[' => {
                let mut items = Vec::new();
                self.at += 1;
                while !self.wants(b']') {
                    items.push(self.value());
                    self.wants(b',');
                }
                Json::List(items)
            }
            b'{' => {
                let mut map = BTreeMap::new();
                self.at += 1;
                while !self.wants(b'}') {
                    self.peek();
                    let name = self.string();
                    if !self.wants(b':') {
                        fail(2, "no JSON: a name without a value");
                    }
                    map.insert(name, self.value());
                    self.wants(b',');
                }
                Json::Object(map)
            }
            _ => {
                let begin = self.at;
                while self.at < self.bytes.len() && !b",]} \n\r\t".contains(&self.bytes[self.at]) {
                    self.at += 1;
                }
                match std::str::from_utf8(&self.bytes[begin..self.at]).unwrap_or("") {
                    "null" => Json::Null,
                    "true" => Json::Bool(true),
                    "false" => Json::Bool(false),
                    word => Json::Number(word.parse().unwrap_or_else(|_| fail(2, "no JSON"))),
                }
            }
        }
    }
}

// A hexadecimal float such as -0x1.8p-3: the digits are a whole number below 2^53, so this is exact.
fn from_hex(text: &str) -> f64 {
    if let Ok(value) = text.parse::<f64>() {
        return value; // inf, -inf, nan
    }
    let (sign, body) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text),
    };
    let read = || -> Option<f64> {
        let (digits, power) = body.strip_prefix("0x")?.split_once('p')?;
        let (lead, rest) = digits.split_once('.').unwrap_or((digits, ""));
        let whole = u64::from_str_radix(&format!("{lead}{rest}"), 16).ok()? as f64;
        let mut power = power.parse::<i32>().ok()? - 4 * rest.len() as i32;
        let mut value = whole;
        // 2^-1074 is the least power there is: subnormal numbers need two factors.
        if power < -1000 {
            value *= 2f64.powi(-1000);
            power += 1000;
        }
        Some(sign * value * 2f64.powi(power))
    };
    read().unwrap_or_else(|| fail(2, &format!("no hexadecimal float: {text}")))
}

struct Hyper {
    lr: f64,
    beta1: f64,
    beta2: f64,
    eps: f64,
    eps_root: f64,
    weight_decay: f64,
    decay: String,
    eps_corrected: bool,
}

impl Hyper {
    fn read(json: &Json) -> Hyper {
        let number = |name: &str| from_hex(json.get(name).text());
        Hyper {
            lr: number("lr"),
            beta1: number("beta1"),
            beta2: number("beta2"),
            eps: number("eps"),
            eps_root: number("eps_root"),
            weight_decay: number("weight_decay"),
            decay: json.get("decay").text().to_string(),
            eps_corrected: matches!(json.get("eps_corrected"), Json::Bool(true)),
        }
    }
}

// One step of Adam on a leaf; x, m and v are changed in place.
fn adam(x: &mut [f64], g: &[f64], m: &mut [f64], v: &mut [f64], t: i32, h: &Hyper, multiplier: f64) {
    let lr = h.lr * multiplier;
    let (c1, c2) = (1.0 - h.beta1.powi(t), 1.0 - h.beta2.powi(t));
    let keep = match h.decay.as_str() {
        "decoupled" => 1.0 - lr * h.weight_decay,
        "independent" => 1.0 - multiplier * h.weight_decay,
        _ => 1.0,
    };
    // Keras has eps beside the uncorrected root: the same as eps / sqrt(c2) beside the corrected one.
    let eps = if h.eps_corrected { h.eps } else { h.eps / c2.sqrt() };
    for i in 0..x.len() {
        let gi = g[i] + if h.decay == "coupled" { h.weight_decay * x[i] } else { 0.0 };
        m[i] = h.beta1 * m[i] + (1.0 - h.beta1) * gi;
        v[i] = h.beta2 * v[i] + (1.0 - h.beta2) * gi * gi;
        x[i] = keep * x[i] - lr * (m[i] / c1) / ((v[i] / c2 + h.eps_root).sqrt() + eps);
    }
}

fn main() {
    let path = env::args().nth(1).unwrap_or_else(|| fail(2, "usage: check_adam FILE"));
    let bytes = fs::read(&path).unwrap_or_else(|error| fail(2, &error.to_string()));
    let file = Reader { bytes: &bytes, at: 0 }.value();
    if file.get("format").text() != "refopt-vectors" || !matches!(file.get("version"), Json::Number(n) if *n == 1.0) {
        fail(2, "not refopt's test vectors, version 1");
    }
    if !["adam", "adamw"].contains(&file.get("method").text()) {
        fail(2, &format!("this checks Adam, the file is of {}", file.get("method").text()));
    }
    let Json::Object(shapes) = file.get("shapes") else { fail(2, "no shapes") };
    let mut status = 0;
    for profile in file.get("profiles").list() {
        let hyper = Hyper::read(profile.get("hyper"));
        let run = profile.get("runs").get("float64");
        let schedule = profile.get("schedule").floats();
        let mut worst = 0.0f64;
        for leaf in shapes.keys() {
            let want: Vec<Vec<f64>> = run.get("trajectory").list().iter().map(|p| p.get(leaf).floats()).collect();
            let scale = want.iter().flatten().fold(0.0f64, |most, w| most.max(w.abs()));
            let mut x = file.get("x0").get(leaf).floats();
            let (mut m, mut v) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            for (k, after) in want.iter().enumerate() {
                let g = file.get("gradients").list()[k].get(leaf).floats();
                // The last multiplier holds from then on.
                let multiplier = schedule.get(k).or(schedule.last()).copied().unwrap_or(1.0);
                adam(&mut x, &g, &mut m, &mut v, k as i32 + 1, &hyper, multiplier);
                for (a, w) in x.iter().zip(after) {
                    let gap = (a - w).abs() / scale;
                    // NaN is no agreement.
                    worst = if gap.is_nan() { f64::INFINITY } else { worst.max(gap) };
                }
            }
        }
        let allowed = from_hex(run.get("rounding").text());
        let agrees = worst <= allowed;
        status |= !agrees as i32;
        let word = if agrees { "agrees" } else { "DIFFERS" };
        let name = profile.get("name").text();
        println!("{name}: {word}, by {worst:.1e} at most; rounding explains {allowed:.1e}");
    }
    process::exit(status)
}
