package lab

import (
	"crypto/rand"
	"encoding/binary"
)

// transactionID names a request.
type transactionID [12]byte

func newTransactionID() (id transactionID) {
	rand.Read(id[:])
	return id
}

// stunRequest is a Binding request: bare, or with CHANGE-REQUEST.
func stunRequest(id transactionID, change byte) []byte {
	var attributes []byte
	if change != 0 {
		attributes = []byte{0, 3, 0, 4, 0, 0, 0, change}
	}
	out := []byte{0, 1, 0, byte(len(attributes)), 0x21, 0x12, 0xa4, 0x42}
	return append(append(out, id[:]...), attributes...)
}

// parseSTUNAnswer reads what the lab wants to know of an answer; false if it is none to the request.
func parseSTUNAnswer(message []byte, id transactionID) (STUNAnswer, bool) {
	if len(message) < 20 || transactionID(message[8:20]) != id || message[0] != 1 {
		return STUNAnswer{}, false
	}
	answer := STUNAnswer{}
	for rest := message[20:]; len(rest) >= 4; {
		kind, length := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		if len(rest) < 4+length {
			return STUNAnswer{}, false
		}
		switch kind {
		case 0x0009: // ERROR-CODE
			answer.Refused = int(rest[6])*100 + int(rest[7])
		case 0x802c: // OTHER-ADDRESS
			answer.OtherAddress = true
		}
		rest = rest[min(len(rest), 4+(length+3)&^3):]
	}
	return answer, true
}
