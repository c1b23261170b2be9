//! What runs in the test container: a program that does nothing until it is ended.

fn main() {
    loop {
        std::thread::sleep(std::time::Duration::from_secs(60));
    }
}
