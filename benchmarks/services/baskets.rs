// Baskets of customers that never come back: ./baskets PORT.
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::rc::Rc;

struct Item {
    name: String,
    #[allow(dead_code)]
    basket: RefCell<Option<Rc<Basket>>>,
}

struct Basket {
    items: RefCell<Vec<Rc<Item>>>,
}

fn fill(number: usize) -> Rc<Basket> {
    let basket = Rc::new(Basket { items: RefCell::new(Vec::new()) });
    for position in 0..3 {
        let name = format!("article {number}-{position} {}", "x".repeat(90)); // LEAK
        let item = Rc::new(Item { name, basket: RefCell::new(Some(basket.clone())) });
        basket.items.borrow_mut().push(item);
    }
    basket
}

fn main() {
    let port: u16 = std::env::args().nth(1).unwrap().parse().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut totals = BTreeMap::new();
    for (number, caller) in listener.incoming().flatten().enumerate() {
        let mut reader = BufReader::new(caller);
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap_or(0) > 2 {
            line.clear();
        }
        let basket = fill(number);
        let length: usize = basket.items.borrow().iter().map(|item| item.name.len()).sum();
        *totals.entry(length).or_insert(0) += 1;
        let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n");
    }
}
