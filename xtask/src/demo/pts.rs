//! First presentation time of an MPEG-TS segment's video (or audio, where there is no video).
//!
//! Rule: it answers none rather than guess. It reads PES headers only; fragmented MP4 is not read.

const PACKET_BYTES: usize = 188;

/// Ticks of a presentation timestamp per second.
const CLOCK_HZ: f64 = 90_000.0;

/// Smallest presentation time among the segment's video frames, in seconds.
pub(crate) fn first_pts_s(segment: &[u8]) -> Option<f64> {
    let smallest = |kind: fn(u8) -> bool| {
        segment
            .chunks_exact(PACKET_BYTES)
            .filter_map(pes_header)
            .filter(|header| kind(header[3]))
            .filter_map(pts)
            .min()
    };
    let is_video = |id: u8| (0xe0..=0xef).contains(&id);
    let is_audio = |id: u8| (0xc0..=0xdf).contains(&id);
    let ticks = smallest(is_video).or_else(|| smallest(is_audio))?;
    Some(ticks as f64 / CLOCK_HZ)
}

/// The start of a PES packet in this transport packet, from its start code on.
fn pes_header(packet: &[u8]) -> Option<&[u8]> {
    let starts_unit = packet[0] == 0x47 && packet[1] & 0x40 != 0;
    let has_payload = packet[3] & 0x10 != 0;
    let has_adaptation = packet[3] & 0x20 != 0;
    let start = if has_adaptation { 5 + usize::from(packet[4]) } else { 4 };
    let payload = packet.get(start..)?;
    let is_pes = payload.len() >= 14 && payload.starts_with(&[0, 0, 1]);
    (starts_unit && has_payload && is_pes).then_some(payload)
}

/// The 33-bit timestamp of a PES header, spread over five bytes (ISO/IEC 13818-1, 2.4.3.6).
fn pts(header: &[u8]) -> Option<u64> {
    if header[7] & 0x80 == 0 {
        return None;
    }
    let at = |n: usize| u64::from(header[9 + n]);
    Some((at(0) >> 1 & 7) << 30 | at(1) << 22 | (at(2) >> 1) << 15 | at(3) << 7 | at(4) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(stream_id: u8, ticks: u64) -> Vec<u8> {
        let mut packet = vec![0x47, 0x41, 0x00, 0x30, 1, 0];
        packet.extend([0, 0, 1, stream_id, 0, 0, 0x80, 0x80, 5]);
        packet.push(0x21 | (ticks >> 29) as u8 & 0x0e);
        packet.push((ticks >> 22) as u8);
        packet.push((ticks >> 14) as u8 | 1);
        packet.push((ticks >> 7) as u8);
        packet.push((ticks << 1) as u8 | 1);
        packet.resize(PACKET_BYTES, 0xff);
        packet
    }

    #[test]
    fn video_comes_before_audio_and_the_earliest_frame_counts() {
        let ticks = 0x1_2345_6789;
        let segment = [packet(0xc0, 5), packet(0xe0, ticks + 9000), packet(0xe0, ticks)].concat();
        assert_eq!(first_pts_s(&segment), Some(ticks as f64 / CLOCK_HZ));
        assert_eq!(first_pts_s(&packet(0xc0, 180_000)), Some(2.0));
        assert_eq!(first_pts_s(b"moof"), None);
    }
}
