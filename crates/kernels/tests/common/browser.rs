//! A kernel of the table in a browser: its WebGPU, whose compiler is not naga.
//!
//! `web/tests/gpu_bridge.mjs` opens the page (`gpu_page.js`) and stands between: it takes one request after another on a socket and gives each to the page. All numbers are
//! `u32`, least significant byte first. A message in either direction is its length in bytes and its content; the first one comes from the bridge.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::TcpStream;

use ptbr_kernels::{Access, Kernel};

use super::gpu::{Device, Gpu};

struct Browser {
    connection: RefCell<TcpStream>,
    subgroups: bool,
}

/// The browser behind a bridge.
pub fn connect(address: &str) -> Gpu {
    let mut connection = TcpStream::connect(address).expect("the bridge to the browser");
    let greeting = receive(&mut connection);
    let (subgroups, name) = greeting.split_at(4);
    let name = String::from_utf8(name.to_vec()).expect("a name");
    let browser = Browser {
        connection: RefCell::new(connection),
        subgroups: subgroups == 1u32.to_le_bytes(),
    };
    Gpu::new(name, browser)
}

impl Device for Browser {
    fn has_subgroups(&self) -> bool {
        self.subgroups
    }

    /// Request: workgroups `[3]`, lengths of label and source, number of bindings; for each its words and its kind (bit 0: `read_write`, bit 1: written); label and source,
    /// padded to words; contents. Answer: 0 and the contents of those written, or 1 and a text.
    fn dispatch(
        &self,
        kernel: &Kernel,
        contents: &[Vec<u32>],
        workgroups: [u32; 3],
    ) -> Vec<Vec<u32>> {
        let label = format!("{} {}", kernel.name, kernel.permutation);
        let texts = [label.as_str(), kernel.source];
        let mut request = workgroups.to_vec();
        request.extend(texts.map(|text| text.len() as u32));
        request.push(kernel.bindings.len() as u32);
        for (binding, words) in kernel.bindings.iter().zip(contents) {
            let kind =
                u32::from(binding.access == Access::ReadWrite) | u32::from(binding.written) << 1;
            request.extend([words.len() as u32, kind]);
        }
        let mut request: Vec<u8> = request.iter().flat_map(|word| word.to_le_bytes()).collect();
        for text in texts {
            request.extend(text.bytes());
            request.resize(request.len().next_multiple_of(4), 0);
        }
        for words in contents {
            request.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        }

        let mut connection = self.connection.borrow_mut();
        send(&mut connection, &request);
        let answer = receive(&mut connection);
        let (failed, mut rest) = answer.split_at(4);
        assert!(
            failed == 0u32.to_le_bytes(),
            "{label} in the browser: {}",
            String::from_utf8_lossy(rest)
        );
        let written = kernel.bindings.iter().zip(contents);
        let written = written.filter(|(binding, _)| binding.written);
        let found = written
            .map(|(_, words)| {
                let (own, others) = rest.split_at(4 * words.len());
                rest = others;
                own.as_chunks()
                    .0
                    .iter()
                    .map(|&word| u32::from_le_bytes(word))
                    .collect()
            })
            .collect();
        assert!(rest.is_empty(), "{label}: {} bytes too many", rest.len());
        found
    }
}

fn send(connection: &mut TcpStream, message: &[u8]) {
    let length = (message.len() as u32).to_le_bytes();
    let sent = connection.write_all(&length);
    sent.and_then(|()| connection.write_all(message))
        .expect("the bridge takes a request");
}

fn receive(connection: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 4];
    connection
        .read_exact(&mut length)
        .expect("the bridge answers");
    let mut message = vec![0; u32::from_le_bytes(length) as usize];
    connection
        .read_exact(&mut message)
        .expect("the bridge answers");
    message
}
