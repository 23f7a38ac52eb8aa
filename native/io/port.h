// A port set: TUN queue, UDP socket, doors and wake-ups of one shard. What both backends share lives here: what an entry becomes, the order of
// sends, replays, queues. A backend (io/uring_port.cc, io/epoll_port.cc) moves bytes and says how far it got.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/batch.h"
#include "core/environment.h"
#include "io/counters.h"
#include "io/doors.h"
#include "io/handover.h"
#include "io/message.h"
#include "io/portion.h"
#include "io/segments.h"
#include "io/shares.h"
#include "io/waker.h"

namespace ringway {

// wait()'s bits
namespace ready {
inline constexpr uint32_t udp = 1, tun = 2, handover = 4, unblocked = 8;
inline constexpr uint32_t door_shift = 4;  // 16: the first door, 32: the second, 64: the third
}

// How a received datagram lies in its block, for both backends (it is what multishot RECVMSG writes: io_uring_recvmsg_out, name, control, payload).
namespace train_block {
inline constexpr size_t name = 16, name_bytes = 32, control = 48, control_bytes = 144, payload = 192;
}
// A superpacket: virtio-net header in front, so that the IP header begins at a 64-byte boundary.
namespace packet_block {
inline constexpr size_t packet = 64, header = packet - vnet_header_bytes;
}

struct PortOptions {
  int tun = -1, udp = -1;
  std::vector<int> doors;
  bool vnet_header = false, sqpoll = false, zero_copy = false, multishot_read = true;
  std::shared_ptr<Batch> tun_receive, udp_receive;
  std::shared_ptr<Handover> handover;
  uint32_t shard = 0, entries = 256;
};

// One sendmsg.
struct Send {
  const uint8_t* bytes;
  uint32_t length;
  uint32_t given;    // of them to the kernel: all, unless a test wants it to take fewer
  uint16_t segment;  // 0 = without UDP_SEGMENT
  uint16_t block;
  Arena* arena;
  const uint8_t* address;
  size_t work;  // index of the train it belongs to
};

// One write to the TUN: of all parts together, which are the virtio-net header, where the device has one, and the pieces of a packet.
struct Write {
  std::span<const iovec> parts;
  uint32_t length;  // of the packet
};

// What became of sends or writes: the first `done` left whole. Of the one after `error` is the errno, or `cut` (io/transmit.h): then the kernel took `bytes` of it.
// None after that one has left.
struct Progress {
  size_t done = 0;
  int error = 0;
  uint32_t bytes = 0;
};

class Port : public Environment::Closing {
 public:
  static constexpr const char* type_name = "port";
  static constexpr napi_type_tag type_tag{0x52696e6777617931, 0x9a1f0c6be0d34a03};

  ~Port() override = default;

  // nullptr and an exception pending when the kernel refuses.
  static std::shared_ptr<Port> open_uring(napi_env env, const PortOptions& options);
  static std::shared_ptr<Port> open_epoll(napi_env env, const PortOptions& options);

  bool is_open() const { return open_; }
  uint32_t wait(double wait_us);
  // true: work is there, nothing was armed.
  bool arm(napi_value callback);
  void disarm();
  // As arm(), but the thread takes turns, in libuv's place, while there is something to do; then it rests. Needs a sleeper.
  void go_on(napi_value callback);
  enum class Woke {
    rest,    // everything has been seen to, and nothing more comes
    work,    // there will be more, or the time was over
    wanted,  // JavaScript is to be called
  };
  // Who is called when the port wakes its thread, before JavaScript is.
  struct Sleeper {
    virtual Woke wake(uint32_t ready) = 0;  // wait()'s bits
    virtual void go_on() = 0;               // work() will be called, as JavaScript wants it
    virtual Woke work(double until, double idle_us) = 0;  // turns, until nothing has come for `idle_us`
    virtual bool may_wake() const = 0;                    // false: neither would do anything

   protected:
    ~Sleeper() = default;
  };
  void set_sleeper(Sleeper* sleeper) { sleeper_ = sleeper; }  // or nullptr
  bool has_sleeper() const { return sleeper_ != nullptr; }
  // When the port was last armed, in microseconds of the monotonic clock.
  double idle_since() const { return idle_since_; }
  uint32_t udp_receive(uint32_t limit);
  uint32_t tun_receive(uint32_t limit);
  uint32_t door_receive(uint32_t door, uint32_t limit);
  Doors& doors() { return doors_; }
  size_t udp_transmit(Batch& trains);
  size_t tun_transmit(Batch& superpackets);
  uint32_t take_over(HandoverKind kind, uint32_t limit);
  // From now on the kernel says when each train of the socket arrived, or no longer. @returns errno
  int stamp_arrivals(bool on);
  // Microseconds the first train since the last call had waited in the socket; negative: none was stamped.
  double arrival_delay();
  // One datagram with DF, at once, past whatever is queued. @returns errno, 0 = sent; EMSGSIZE: larger than the interface's own MTU
  int send_probe(std::span<const uint8_t> bytes, const uint8_t* element);

  const PortOptions& options() const { return options_; }
  const PortCounters& counters() {
    if (open_) count_drops();
    return counters_;
  }
  // The kernel has filters at the socket, and at the door of strangers (steering/floors.h). From now on what they drop is not counted as dropped there, and what
  // comes is counted as taken.
  void share_socket(std::shared_ptr<Mapping> memory, ShareHead* head, ShareEntry* entries, uint32_t mask);
  // And at the device (steering/tun_shares.cc).
  void share_tun(std::shared_ptr<Mapping> memory, ShareHead* head, ShareEntry* entries) { tun_shares_.attach(std::move(memory), head, entries); }
  void inject(bool udp, std::deque<int> errors) { (udp ? injected_udp_ : injected_tun_) = std::move(errors); }

 protected:
  Port(napi_env env, const PortOptions& options);

  virtual uint32_t receive_trains(uint32_t limit) = 0;
  virtual uint32_t receive_packets(uint32_t limit) = 0;
  // Once into the kernel for at most that long; may come back early with nothing (a signal, a wake-up that is out of date).
  virtual uint32_t look(double wait_us) = 0;
  // Backends: execute in order, stop at the first that fails or is cut.
  virtual Progress send(std::span<const Send> sends) = 0;
  virtual Progress write(std::span<const Write> writes) = 0;
  // Something could not leave: tell through ready::unblocked when it may. `later`: the kernel gives no sign (ENOBUFS), wait a moment.
  virtual void watch_blocked(bool udp, bool later) = 0;
  virtual void watch_door(uint32_t door) = 0;  // until doors().something_came()
  virtual bool begin_idle() = 0;  // false: work is there. true: the waker's descriptor will tell
  virtual void end_idle() = 0;
  virtual bool may_be_direct() const = 0;
  // The port rests on, but from now until the next look() socket and device are read by a system call each. false: not before nothing has come for a while
  // (`settled`), or not now, and the port does not rest. What has come meanwhile is_ready().
  virtual bool begin_direct(bool settled) = 0;
  virtual uint32_t is_ready() = 0;  // wait()'s bits, for all that is known
  // Of socket and device, as bits: had something been there, look() would have told of it.
  virtual uint32_t watched() const = 0;
  // In between begin_direct() and look(): poll() has told of it, and nobody has read it since.
  bool was_told(uint32_t bit);

  // Backends, on receiving: a filled block (its one reference is the entry's).
  bool add_train(uint16_t block, uint32_t payload_bytes, size_t name_bytes, size_t control_bytes, bool truncated);
  bool add_packet(uint16_t block, uint32_t bytes);
  void watch_doors();
  uint32_t ready_doors() const { return doors_.ready() << ready::door_shift; }
  bool handover_waits() const { return options_.handover && options_.handover->waits(options_.shard); }
  bool is_blocked() const { return !queued_trains_.empty() || !queued_packets_.empty(); }
  // open(), for both.
  bool start_waker(int descriptor);
  // close(), for both: what is left in the queues goes back.
  void let_go();

  PortOptions options_;
  PortCounters counters_;
  Doors doors_;
  Environment& environment_;
  Waker* waker_ = nullptr;
  bool open_ = false;
  bool ipv6_socket_ = false;
  bool direct_ = false;
  bool at_work_ = false;
  double delay_ = -1;
  uint32_t max_sends_ = 256;  // per call of send() or write()

 private:
  // What is still to leave of one entry.
  struct Train {
    std::shared_ptr<Arena> keeps;  // queued: holds a reference to `block`
    const uint8_t* bytes;
    uint32_t length, sent, segment_size;
    uint32_t entry;
    uint16_t block;
    Arena* arena;
    bool singly;  // replayed datagram by datagram
    uint8_t address[address::size];
  };
  // What an Outgoing that is queued refers to.
  struct Kept {
    std::shared_ptr<Arena> arena;
    std::vector<uint16_t> blocks;
    std::vector<iovec> parts;
  };
  struct Outgoing {
    std::unique_ptr<Kept> kept;
    Superpacket packet;  // its bytes are those of the first piece
    VnetHeader header;
    std::span<iovec> parts;  // room for the header, then the pieces
    uint32_t length;
    uint32_t entry, entries;
    uint32_t next_segment;
    bool singly;
  };

  // The errno of the last superpacket of a kind that the device refused as one; 0: none was.
  struct Refused {
    int tcp = 0, udp = 0;
  };

  bool rest();  // armed anew, for the same callback; false: work is there
  bool woken();
  Waker::Stay stay();
  Waker::Stay work();
  void begin_work();
  Waker::Stay wait_directly();
  Waker::Stay left();
  Waker::Stay wanted();
  void count_drops();
  void describe_train(uint32_t i, std::span<const uint8_t> name, std::span<const uint8_t> control, bool truncated);
  size_t run_trains(std::span<Train> trains, Batch* batch);
  void gather_sends(std::span<const Train> trains, size_t from);
  void train_failed(Train& train, const Send& failed, int error, Batch* batch);
  void train_cut(Train& train, const Send& cut, uint32_t bytes, Batch* batch);
  void count_sent(uint32_t length, uint16_t segment);
  size_t run_packets(std::span<Outgoing> packets, Batch* batch, Refused& refused);
  void gather_writes(std::span<Outgoing> packets, size_t from);
  int run_singly(Outgoing& packet, Batch* batch);
  void give_part(Write& write, size_t bytes);
  void collect_trains(Batch& batch);
  void collect_packets(Batch& batch);
  static uint32_t lay_out(const Batch& batch, uint32_t entry, std::span<iovec> parts);
  std::span<const iovec> with_header(std::span<iovec> parts, VnetHeader& header) const;
  Superpacket whole(const Outgoing& packet);
  void queue_packets(size_t from, const Batch& batch);
  void unqueue_packets(size_t count);
  static bool is_held(const Batch& batch, uint32_t entry);
  VnetHeader header_of(const Batch& batch, uint32_t entry) const;
  // What is injected into the next sends or writes: the first `allowed` may be tried, the one after fails with `error`. Of the last one that may be tried
  // the kernel is given only so many bytes, where they are not 0.
  struct Injected {
    size_t allowed;
    int error;
    uint32_t bytes;
  };
  static Injected injection(const std::deque<int>& injected, size_t count);
  static void taken(std::deque<int>& injected, size_t count);
  // Keeps what could not leave: a reference to its block and to its arena.
  void queue_trains(std::span<Train> left, const Batch& batch);
  void unqueue_trains(size_t count);

  std::vector<Train> trains_;
  std::vector<Outgoing> packets_;
  std::vector<Send> sends_;
  std::vector<Write> writes_;
  std::vector<iovec> parts_;  // of packets_
  std::vector<iovec> part_;   // scratch of give_part
  std::vector<Train> queued_trains_;
  std::vector<Outgoing> queued_packets_;
  std::deque<int> injected_udp_, injected_tun_;
  std::vector<uint8_t> segment_, whole_;  // scratch of run_singly
  uint32_t last_drops_ = 0;
  uint32_t socket_drops() const;
  void look_for_drops();
  void take_share(std::span<const uint8_t> datagram);
  void take_share_of_device(std::span<const uint8_t> packet);
  Shares udp_shares_, tun_shares_;
  ShareHead* filters_ = nullptr;
  uint32_t shares_mask_ = 0, seen_drops_ = 0;
  double drops_due_ = 0;
  Sleeper* sleeper_ = nullptr;
  uint32_t told_ = 0;
  double idle_since_ = 0;
};

}  // namespace ringway
