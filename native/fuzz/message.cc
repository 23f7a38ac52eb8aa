// What the kernel writes beside a datagram or packet: names, control messages, virtio-net headers of any shape.
// link: native/io/message.cc
#include "io/message.h"

#include <cstdlib>
#include <cstring>

#include "core/columns.h"

using namespace ringway;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < vnet_header_bytes + 2) return 0;
  const size_t name_bytes = std::min<size_t>(data[0] % 40, size - 1);
  uint8_t element[address::size];
  read_name({data + 1, name_bytes}, element);
  const uint8_t family = element[address::family];
  if (family != 0 && family != 4 && family != 6) abort();
  const Control control = read_control({data + 1, size - 1}, element);
  if (control.segment_size > INT32_MAX) abort();

  // what was read can be written, and reads back as the same peer
  Message message;
  write_message(message, data, static_cast<uint32_t>(size), static_cast<uint16_t>(control.segment_size), element, data[0] & 128);
  if (message.header.msg_controllen > sizeof message.control) abort();
  uint8_t again[address::size];
  read_name({static_cast<const uint8_t*>(message.header.msg_name), message.header.msg_namelen}, again);
  if (family != 0 && memcmp(element, again, address::local) != 0) abort();

  Packet packet;
  const auto length = static_cast<uint32_t>(size - vnet_header_bytes);
  if (read_vnet(data, length, packet) && packet.needs_checksum && uint32_t{packet.checksum_start} + packet.checksum_offset + 2 > length) abort();
  return 0;
}
