// A broadcast server in Go to compare with: each message of 64 bytes that a client sends goes to
// all clients.
//
// It is written as Go's examples of chats show it: a goroutine for each direction, a channel for
// each client, and one write for each message.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"sync"
)

// Bytes of one message.
const size = 64

// Messages that may wait for a slow member. It misses further ones.
const capacity = 1024

type message [size]byte

type room struct {
	mutex   sync.RWMutex
	members map[chan *message]struct{}
}

func (room *room) join(member chan *message) {
	room.mutex.Lock()
	defer room.mutex.Unlock()
	room.members[member] = struct{}{}
}

func (room *room) leave(member chan *message) {
	room.mutex.Lock()
	defer room.mutex.Unlock()
	delete(room.members, member)
	close(member)
}

func (room *room) broadcast(sent *message) {
	room.mutex.RLock()
	defer room.mutex.RUnlock()
	for member := range room.members {
		select {
		case member <- sent:
		default:
		}
	}
}

func (room *room) serve(connection net.Conn) {
	defer connection.Close()
	member := make(chan *message, capacity)
	room.join(member)
	defer room.leave(member)
	go func() {
		for sent := range member {
			if _, err := connection.Write(sent[:]); err != nil {
				return
			}
		}
	}()
	for {
		received := new(message)
		if _, err := io.ReadFull(connection, received[:]); err != nil {
			return
		}
		room.broadcast(received)
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("go listening on tcp://%s\n", listener.Addr())
	room := &room{members: make(map[chan *message]struct{})}
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go room.serve(connection)
	}
}
