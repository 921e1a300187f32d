package lab

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"ferry.invalid/lab/netns"
)

// proxyUser and proxyPassword are what the proxies want to hear.
const proxyUser, proxyPassword = "ann", "secret"

// serveEach serves the connections of a listener until it is closed.
func serveEach(listener net.Listener, serve func(net.Conn) error, logf func(format string, args ...any)) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer client.Close()
			if err := serve(client); err != nil {
				logf("proxy %v: %v", listener.Addr(), err)
			}
		}()
	}
}

// connectProxy is an HTTP proxy that knows CONNECT and one user.
func connectProxy(ns *netns.Namespace) func(net.Conn) error {
	return func(client net.Conn) error {
		reader := bufio.NewReader(client)
		request, err := http.ReadRequest(reader)
		if err != nil {
			return err
		}
		// BasicAuth reads Authorization.
		request.Header.Set("Authorization", request.Header.Get("Proxy-Authorization"))
		if user, password, _ := request.BasicAuth(); user != proxyUser || password != proxyPassword {
			_, err := io.WriteString(client, "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
			return err
		}
		if request.Method != http.MethodConnect {
			_, err := io.WriteString(client, "HTTP/1.1 405 Method Not Allowed\r\n\r\n")
			return err
		}
		relay, err := ns.Dial(context.Background(), nil, request.Host)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
			return err
		}
		return splice(client, reader, relay)
	}
}

// socksProxy is a SOCKS5 proxy that knows one user.
func socksProxy(ns *netns.Namespace) func(net.Conn) error {
	return func(client net.Conn) error {
		reader := bufio.NewReader(client)
		methods, err := readAfter(reader, 2, func(head []byte) int { return int(head[1]) })
		if err != nil || methods[0] != 5 || !strings.Contains(string(methods[2:]), "\x02") {
			return fmt.Errorf("greeting %x: %v", methods, err)
		}
		if _, err := client.Write([]byte{5, 2}); err != nil {
			return err
		}
		want := fmt.Sprintf("\x01%c%s%c%s", len(proxyUser), proxyUser, len(proxyPassword), proxyPassword)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(reader, got); err != nil || string(got) != want {
			_, _ = client.Write([]byte{1, 1})
			return fmt.Errorf("credentials %q: %v", got, err)
		}
		if _, err := client.Write([]byte{1, 0}); err != nil {
			return err
		}
		request, err := readAfter(reader, 5, func(head []byte) int {
			return map[byte]int{1: 5, 3: int(head[4]) + 2, 4: 17}[head[3]]
		})
		if err != nil || request[1] != 1 {
			return fmt.Errorf("request %x: %v", request, err)
		}
		host, port := string(request[5:len(request)-2]), binary.BigEndian.Uint16(request[len(request)-2:])
		if request[3] != 3 {
			host = net.IP(request[4 : len(request)-2]).String()
		}
		relay, err := ns.Dial(context.Background(), nil, net.JoinHostPort(host, fmt.Sprint(port)))
		if err != nil {
			_, _ = client.Write([]byte{5, 5, 0, 1, 0, 0, 0, 0, 0, 0})
			return err
		}
		if _, err := client.Write([]byte{5, 0, 0, 1, 127, 0, 0, 1, 4, 56}); err != nil {
			return err
		}
		return splice(client, reader, relay)
	}
}

// upgradeEater ends TLS like a company's proxy that looks into it, and passes on HTTP and WebSocket, but no other upgrade.
func upgradeEater(ns *netns.Namespace) func(net.Conn) error {
	return func(client net.Conn) error {
		reader := bufio.NewReader(client)
		request, err := http.ReadRequest(reader)
		if err != nil {
			return err
		}
		plain, err := ns.Dial(context.Background(), nil, "127.0.0.1:443")
		if err != nil {
			return err
		}
		relay := tls.Client(plain, &tls.Config{InsecureSkipVerify: true, ServerName: relayIPv4})
		defer relay.Close()
		isWebSocket := strings.EqualFold(request.Header.Get("Upgrade"), "websocket")
		if !isWebSocket {
			request.Header.Del("Upgrade")
			request.Header.Del("Connection")
		}
		if err := request.Write(relay); err != nil {
			return err
		}
		if isWebSocket {
			return splice(client, reader, relay)
		}
		response, err := http.ReadResponse(bufio.NewReader(relay), request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		return response.Write(client)
	}
}

// readAfter reads a head, and then as much as it says follows.
func readAfter(reader io.Reader, head int, follows func([]byte) int) ([]byte, error) {
	read := make([]byte, head)
	if _, err := io.ReadFull(reader, read); err != nil {
		return read, err
	}
	rest := make([]byte, follows(read))
	_, err := io.ReadFull(reader, rest)
	return append(read, rest...), err
}

// splice carries bytes both ways until one end closes.
func splice(client net.Conn, fromClient io.Reader, relay net.Conn) error {
	defer relay.Close()
	ended := make(chan struct{}, 2)
	for _, way := range []struct {
		to   io.Writer
		from io.Reader
	}{{relay, fromClient}, {client, relay}} {
		go func() {
			_, _ = io.Copy(way.to, way.from)
			ended <- struct{}{}
		}()
	}
	<-ended
	return errors.Join(client.Close(), relay.Close())
}
