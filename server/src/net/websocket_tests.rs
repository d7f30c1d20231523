//! Tests of the WebSocket: frames byte by byte, rules that are broken, and what an idle one holds.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const MAX: usize = 1000;

fn pair() -> (WebSocket<DuplexStream>, DuplexStream) {
    let (near, far) = duplex(100_000);
    (WebSocket::new(near, MAX), far)
}

/// A client's frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..126 => bytes.push(0x80 | u8::try_from(len).unwrap()),
        len @ 126..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    let mask = [1, 2, 3, 250];
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

#[test]
fn the_answer_to_a_key_is_that_of_the_standard() {
    // RFC 6455, 1.3.
    assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[tokio::test]
async fn messages_come_whole_however_they_are_cut() {
    let mut bytes = frame(0x81, b"one");
    bytes.extend(frame(0x01, b"t"));
    bytes.extend(frame(0x89, b"are you there"));
    bytes.extend(frame(0x00, b"w"));
    bytes.extend(frame(0x80, "ö".as_bytes()));
    bytes.extend(frame(0x81, &[b'x'; 300]));
    bytes.extend(frame(0x82, b"\xff"));
    bytes.extend(frame(0x88, b""));
    for step in [1, 2, 7, bytes.len()] {
        let (mut socket, mut far) = pair();
        let pieces: Vec<_> = bytes.chunks(step).map(<[u8]>::to_vec).collect();
        let sending = tokio::spawn(async move {
            for piece in pieces {
                far.write_all(&piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            far
        });
        let mut heard = Vec::new();
        for _ in 0..6 {
            heard.push(socket.recv().await.unwrap().unwrap());
        }
        let text = |text: &str| Message::Text(text.to_owned().into());
        let long = "x".repeat(300);
        let ping = Message::Ping(Bytes::new());
        let binary = Message::Binary(Bytes::from_static(b"\xff"));
        let close = Message::Close(None);
        assert_eq!(heard, [text("one"), ping, text("twö"), text(&long), binary, close]);
        assert_eq!((socket.partial.capacity(), &socket.fragments), (0, &None));
        socket.flush().await.unwrap();
        let mut pong = [0; 15];
        sending.await.unwrap().read_exact(&mut pong).await.unwrap();
        assert_eq!(&pong, b"\x8a\x0dare you there");
    }
}

#[tokio::test]
async fn broken_rules_are_told() {
    let mut unmasked = frame(0x81, b"a");
    unmasked[1] &= 0x7f;
    for (bytes, says) in [
        (unmasked, "masked"),
        (frame(0x83, b"a"), "kind"),
        (frame(0xc1, b"a"), "kind"),
        (frame(0x81, &[b'a'; MAX + 1]), "longer"),
        ([frame(0x01, &[b'a'; MAX]), frame(0x80, b"a")].concat(), "longer"),
        (frame(0x80, b"a"), "middle"),
        ([frame(0x01, b"a"), frame(0x81, b"a")].concat(), "inside"),
        (frame(0x81, b"\xff"), "UTF-8"),
        (frame(0x09, b""), "control"),
        (frame(0x89, &[0; 126]), "control"),
    ] {
        let (mut socket, mut far) = pair();
        far.write_all(&bytes).await.unwrap();
        let error = socket.recv().await.unwrap().unwrap_err();
        assert!(error.to_string().contains(says), "{error} for {bytes:?}");
    }
    let (mut socket, far) = pair();
    drop(far);
    assert!(socket.recv().await.is_none());
}

#[tokio::test]
async fn frames_have_lengths_of_three_kinds_and_leave_nothing_behind() {
    for (len, head) in [
        (125_usize, &[0x81, 125][..]),
        (126, &[0x81, 126, 0, 126]),
        (65_535, &[0x81, 126, 255, 255]),
        (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        let (mut socket, mut far) = pair();
        let text = "y".repeat(len);
        socket.send(Message::Text(text.clone().into())).await.unwrap();
        let mut bytes = vec![0; head.len() + len];
        far.read_exact(&mut bytes).await.unwrap();
        assert_eq!((&bytes[..head.len()], &bytes[head.len()..]), (head, text.as_bytes()));
        assert_eq!(socket.out.capacity(), 0);
    }
}

#[tokio::test]
async fn a_write_that_is_given_up_goes_on_where_it_was() {
    let (near, mut far) = duplex(10);
    let mut socket = WebSocket::new(near, MAX);
    let text = "z".repeat(100);
    let patience = std::time::Duration::from_millis(5);
    let sent = tokio::time::timeout(patience, socket.send(Message::Text(text.clone().into())));
    assert!(sent.await.is_err(), "nobody reads");
    let reading = tokio::spawn(async move {
        let mut bytes = vec![0; 102];
        far.read_exact(&mut bytes).await.unwrap();
        (bytes, far)
    });
    socket.flush().await.unwrap();
    let (bytes, _far) = reading.await.unwrap();
    assert_eq!(&bytes[2..], text.as_bytes());
}

#[test]
fn whatever_comes_is_a_message_or_breaks_a_rule() {
    let mut state = 1_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    for round in 0..20_000 {
        let mut socket = WebSocket::new(tokio::io::empty(), MAX);
        socket.partial = (0..round % 40).map(|_| random()).collect();
        // Often enough a head that may be: whole, masked and short.
        if let (Some(second), true) = (socket.partial.get_mut(1), round % 2 == 0) {
            *second = 0x80 | (*second & 0x0f);
        }
        let before = socket.partial.len();
        for _ in 0..before {
            match socket.take() {
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        assert!(socket.partial.len() <= before);
    }
}
