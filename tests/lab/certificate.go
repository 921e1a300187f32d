package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Certificate is how nodes come to trust the relay.
type Certificate int

const (
	// SelfSignedAddress lets the relay make its own certificate for its IP address; the DERP map pins its hash,
	// as operators without a domain do.
	SelfSignedAddress Certificate = iota
	// NamedByAuthority gives the relay a certificate for a DNS name from an authority that the nodes trust.
	NamedByAuthority
	// SelfSignedBoth gives the relay a certificate for its IP address and for relayName, made here and pinned like its own.
	SelfSignedBoth
)

// relayName is the relay's DNS name in a lab that uses one.
const relayName = "relay.ferry.test"

// hostname is what the relay's -hostname and the DERP map's HostName say.
func (c Certificate) hostname() string {
	if c == NamedByAuthority {
		return relayName
	}
	return relayIPv4
}

// hosts are lines for the hosts file of every namespace.
func (c Certificate) hosts() string {
	if c == NamedByAuthority {
		return relayIPv4 + " " + relayName + "\n"
	}
	return ""
}

// issueNamed makes an authority and a certificate for relayName. The certificate goes where the relay's manual
// mode looks for it, the authority's to the returned file.
func issueNamed(certDir string) (caFile string, err error) {
	now := time.Now()
	authority := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "ferry lab authority"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: relayName},
		DNSNames:     []string{relayName},
		NotBefore:    authority.NotBefore,
		NotAfter:     authority.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	authorityDER, err := x509.CreateCertificate(rand.Reader, authority, authority, authorityKey.Public(), authorityKey)
	if err != nil {
		return "", err
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, authority, leafKey.Public(), authorityKey)
	if err != nil {
		return "", err
	}
	leafKeyDER, err := x509.MarshalECPrivateKey(leafKey)
	if err != nil {
		return "", err
	}
	caFile = filepath.Join(certDir, "authority.pem")
	return caFile, writePEM(
		pemFile{caFile, "CERTIFICATE", authorityDER},
		pemFile{filepath.Join(certDir, relayName+".crt"), "CERTIFICATE", leafDER},
		pemFile{filepath.Join(certDir, relayName+".key"), "EC PRIVATE KEY", leafKeyDER},
	)
}

// pemFile is a file with one PEM block.
type pemFile struct {
	path, kind string
	der        []byte
}

func writePEM(files ...pemFile) error {
	for _, file := range files {
		content := pem.EncodeToMemory(&pem.Block{Type: file.kind, Bytes: file.der})
		if err := os.WriteFile(file.path, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// selfSigned is a certificate for the relay's address and name, and its pin: Tailscale's client and ferry's want a pinned
// certificate to be for the map's HostName, if that is a name.
func selfSigned() (tls.Certificate, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(3),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		IPAddresses:  []net.IP{net.ParseIP(relayIPv4)},
		DNSNames:     []string{relayName},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	pin := fmt.Sprintf("sha256-raw:%x", sha256.Sum256(der))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pin, err
}

// writeSelfSigned puts such a certificate where the relay's manual mode looks for its address's.
func writeSelfSigned(certDir string) error {
	certificate, _, err := selfSigned()
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalECPrivateKey(certificate.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		return err
	}
	path := filepath.Join(certDir, relayIPv4)
	return writePEM(
		pemFile{path + ".crt", "CERTIFICATE", certificate.Certificate[0]},
		pemFile{path + ".key", "EC PRIVATE KEY", keyDER},
	)
}

// pinOf is the DERP map's CertName for exactly the certificate in a file.
func pinOf(certFile string) (string, error) {
	content, err := os.ReadFile(certFile)
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return "", fmt.Errorf("%s holds no PEM block", certFile)
	}
	return fmt.Sprintf("sha256-raw:%x", sha256.Sum256(block.Bytes)), nil
}
