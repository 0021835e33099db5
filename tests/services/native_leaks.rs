// A service for tests that leaks in one of several ways: ./native_leaks PORT MODE. A line that leaks
// ends with "LINE mode".
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;

struct Order {
    text: String,
    parts: Vec<u64>,
}

static AUDIT: Mutex<Vec<Order>> = Mutex::new(Vec::new());
static SESSIONS: Mutex<Option<HashMap<usize, Box<[u8]>>>> = Mutex::new(None);

fn pushed(number: usize) {
    let text = format!("order {number}");
    let parts = vec![7; 100]; // LINE pushed
    AUDIT.lock().unwrap().push(Order { text, parts });
}

fn forgotten(number: usize) {
    let name = Box::new([number as u8; 200]); // LINE forgotten
    std::hint::black_box(Box::leak(name));
}

fn keyed(number: usize) {
    let mut sessions = SESSIONS.lock().unwrap();
    let session = vec![1u8; 500].into_boxed_slice(); // LINE keyed
    sessions.get_or_insert_with(HashMap::new).insert(number, session);
}

fn handle(mut caller: TcpStream, mode: &str, number: usize) {
    let mut request = [0; 4096];
    if caller.read(&mut request).unwrap_or(0) == 0 {
        return;
    }
    match mode {
        "pushed" => pushed(number),
        "forgotten" => forgotten(number),
        "keyed" => keyed(number),
        _ => drop(vec![number; 50]),
    }
    let _ = caller.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n");
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let listener = TcpListener::bind(("127.0.0.1", arguments[1].parse::<u16>().unwrap())).unwrap();
    for (number, caller) in listener.incoming().flatten().enumerate() {
        let mode = arguments[2].clone();
        if mode == "forgotten" {
            std::thread::spawn(move || handle(caller, &mode, number)).join().unwrap();
        } else {
            handle(caller, &mode, number);
        }
    }
    println!("{}", AUDIT.lock().unwrap().iter().map(|one| one.text.len() + one.parts.len()).sum::<usize>());
}
