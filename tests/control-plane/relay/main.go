// Command relay stands in for the relay server and the relay agent, neither of
// which is open: it speaks gRPC over mutual TLS with the secrets the plugins
// write, and issues an agent's certificate the way the server does. It shares no
// code with the plugins, and its verifier is Go's crypto/x509.
package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
)

const usage = `usage:
  relay verify --ca FILE --cert FILE --name NAME [--usage server|client]
  relay issue --ca-cert FILE --ca-key FILE --root FILE --cluster NAME --out DIR
  relay serve --tls DIR [--addr ADDR] [--client-ca FILE] [--tls12]
  relay dial --tls DIR --addr ADDR --authority NAME [--timeout DURATION]`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	commands := map[string]func([]string) error{
		"verify": verify,
		"issue":  issue,
		"serve":  serve,
		"dial":   dial,
	}
	command, ok := commands[os.Args[1]]
	if !ok {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	if err := command(os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

// verify checks that a certificate chains up to a root and is good for a name.
func verify(args []string) error {
	flags := flag.NewFlagSet("verify", flag.ExitOnError)
	ca := flags.String("ca", "", "file with the trusted roots")
	cert := flags.String("cert", "", "file with the certificate, then its intermediates")
	name := flags.String("name", "", "DNS name the certificate has to be good for")
	use := flags.String("usage", "server", "server or client")
	flags.Parse(args)

	roots, err := readPool(*ca)
	if err != nil {
		return err
	}
	chain, err := readCertificates(*cert)
	if err != nil {
		return err
	}
	intermediates := x509.NewCertPool()
	for _, intermediate := range chain[1:] {
		intermediates.AddCert(intermediate)
	}
	usages := map[string]x509.ExtKeyUsage{"server": x509.ExtKeyUsageServerAuth, "client": x509.ExtKeyUsageClientAuth}
	keyUsage, ok := usages[*use]
	if !ok {
		return fmt.Errorf("unknown usage %q", *use)
	}
	_, err = chain[0].Verify(x509.VerifyOptions{
		DNSName:       *name,
		Roots:         roots,
		Intermediates: intermediates,
		KeyUsages:     []x509.ExtKeyUsage{keyUsage},
	})
	return err
}

// issue makes an agent's identity: the server accepts a client certificate only
// if a DNS name in it is the name of the agent's cluster.
func issue(args []string) error {
	flags := flag.NewFlagSet("issue", flag.ExitOnError)
	caCert := flags.String("ca-cert", "", "the signing certificate")
	caKey := flags.String("ca-key", "", "its key")
	root := flags.String("root", "", "the root, which the agent trusts")
	cluster := flags.String("cluster", "", "name of the agent's cluster")
	out := flags.String("out", "", "directory for tls.crt, tls.key and ca.crt")
	flags.Parse(args)

	signing, err := readCertificates(*caCert)
	if err != nil {
		return err
	}
	signingKey, err := readKey(*caKey)
	if err != nil {
		return err
	}
	rootPEM, err := os.ReadFile(*root)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: *cluster},
		DNSNames:     []string{*cluster},
		NotBefore:    time.Now().Add(-5 * time.Minute),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	// CreateCertificate refuses a key that is not the parent's.
	leaf, err := x509.CreateCertificate(rand.Reader, template, signing[0], key.Public(), signingKey)
	if err != nil {
		return fmt.Errorf("issue a certificate for %q: %w", *cluster, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf})
	chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signing[0].Raw})...)
	if err := os.MkdirAll(*out, 0o700); err != nil {
		return err
	}
	files := map[string][]byte{
		"tls.crt": chain,
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
		"ca.crt":  rootPEM,
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(*out, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// serve is the relay server: it answers gRPC health checks of clients whose
// certificate it trusts, until its standard input ends.
func serve(args []string) error {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	dir := flags.String("tls", "", "directory with tls.crt, tls.key and ca.crt")
	addr := flags.String("addr", "127.0.0.1:0", "address to listen on")
	clientCA := flags.String("client-ca", "", "roots of the clients, instead of ca.crt")
	tls12 := flags.Bool("tls12", false, "speak nothing newer than TLS 1.2")
	flags.Parse(args)

	config, err := readTLS(*dir)
	if err != nil {
		return err
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	config.ClientCAs = config.RootCAs
	if *tls12 {
		config.MaxVersion = tls.VersionTLS12
	}
	if *clientCA != "" {
		if config.ClientCAs, err = readPool(*clientCA); err != nil {
			return err
		}
	}
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)), grpc.UnaryInterceptor(logPeer))
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		server.Stop()
	}()
	fmt.Printf("listening %s\n", listener.Addr())
	return server.Serve(listener)
}

// logPeer writes down whose call it was, as the server saw it.
func logPeer(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if caller, ok := peer.FromContext(ctx); ok {
		if info, ok := caller.AuthInfo.(credentials.TLSInfo); ok && len(info.State.PeerCertificates) > 0 {
			fmt.Printf("agent %v\n", info.State.PeerCertificates[0].DNSNames)
		}
	}
	return handler(ctx, request)
}

// dial is the agent: it asks a relay server for its health.
func dial(args []string) error {
	flags := flag.NewFlagSet("dial", flag.ExitOnError)
	dir := flags.String("tls", "", "directory with tls.crt, tls.key and ca.crt")
	addr := flags.String("addr", "", "address of the relay server")
	authority := flags.String("authority", "", "name to ask for and to verify")
	timeout := flags.Duration("timeout", 10*time.Second, "how long to wait")
	flags.Parse(args)

	config, err := readTLS(*dir)
	if err != nil {
		return err
	}
	config.ServerName = *authority
	// Says what is wrong with the certificates sooner and better than grpc, which
	// retries. With TLS 1.3 a server's refusal only shows on the first read.
	if err := shakeHands(*addr, config, *timeout); err != nil {
		return err
	}
	conn, err := grpc.NewClient("passthrough:///"+*addr,
		grpc.WithTransportCredentials(credentials.NewTLS(config)), grpc.WithAuthority(*authority))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	response, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		return err
	}
	fmt.Println(response.GetStatus())
	if response.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return errors.New("the server is not serving")
	}
	return nil
}

func shakeHands(addr string, config *tls.Config, timeout time.Duration) error {
	config = config.Clone()
	config.NextProtos = []string{"h2"}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: timeout}, "tcp", addr, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(timeout))
	// An HTTP/2 server speaks first: a settings frame, or the alert.
	_, err = conn.Read(make([]byte, 1))
	return err
}

func readTLS(dir string) (*tls.Config, error) {
	identity, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		return nil, fmt.Errorf("load the certificate in %s: %w", dir, err)
	}
	roots, err := readPool(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{identity}, RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}

func readPool(path string) (*x509.CertPool, error) {
	certificates, err := readCertificates(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, certificate := range certificates {
		pool.AddCert(certificate)
	}
	return pool, nil
}

func readCertificates(path string) ([]*x509.Certificate, error) {
	rest, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var certificates []*x509.Certificate
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse %s: %w", path, err)
		}
		certificates = append(certificates, certificate)
	}
	if len(certificates) == 0 {
		return nil, fmt.Errorf("no certificate in %s", path)
	}
	return certificates, nil
}

func readKey(path string) (crypto.Signer, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, fmt.Errorf("no key in %s", path)
	}
	var key any
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("the key in %s cannot sign", path)
	}
	return signer, nil
}
