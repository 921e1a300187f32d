package interop

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// frame is one frame as it travelled.
type frame struct {
	kind    derp.FrameType
	payload []byte
}

func (f frame) String() string {
	if len(f.payload) > 80 {
		return fmt.Sprintf("%02x[%d]%x…", byte(f.kind), len(f.payload), f.payload[:80])
	}
	return fmt.Sprintf("%02x[%d]%x", byte(f.kind), len(f.payload), f.payload)
}

// readFrame reads one whole frame.
func readFrame(r io.Reader) (frame, error) {
	var header [5]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return frame{}, err
	}
	f := frame{kind: derp.FrameType(header[0]), payload: make([]byte, binary.BigEndian.Uint32(header[1:]))}
	_, err := io.ReadFull(r, f.payload)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return f, err
}

// encode lays out one frame.
func encode(kind derp.FrameType, parts ...[]byte) []byte {
	payload := slices.Concat(parts...)
	out := binary.BigEndian.AppendUint32([]byte{byte(kind)}, uint32(len(payload)))
	return append(out, payload...)
}

// raw32 is the key as it travels.
func raw32(k key.NodePublic) []byte { return k.AppendTo(nil) }

// randomBytes is n random bytes that are not a disco packet.
func randomBytes(n int) []byte {
	out := make([]byte, n)
	rand.Read(out)
	if n > 0 {
		out[0] = 4 // WireGuard's transport message type
	}
	return out
}

// discoPacket is a packet of n bytes that starts with the disco magic.
func discoPacket(n int) []byte {
	return append([]byte(discoMagic), make([]byte, max(0, n-len(discoMagic)))...)[:n]
}

// discoMagic starts a disco packet.
const discoMagic = "TS\U0001F4AC"

// header is a frame header without its payload.
func header(kind derp.FrameType, length uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{byte(kind)}, length)
}
