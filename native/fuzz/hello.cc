// Hostile datagrams as first ClientHellos: nothing is read beyond them, what is chosen is of the server's terms, and the answer keeps to its size
// and is, read as a record, what it says it is.
// link: native/hello/parse.cc native/hello/retry.cc native/secret/memory.cc native/aead/aead.cc native/fuzz/backends/none.cc native/fuzz/backends/hash.cc
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "hello/parse.h"
#include "hello/retry.h"
#include "packet/bytes.h"

using namespace ringway;

namespace {

void must(bool holds) {
  if (!holds) std::abort();
}

hello::Terms terms() {
  hello::Terms made;
  made.suites.count = 3;
  made.suites.list = {0x1302, 0x1303, 0x1301};
  made.groups.count = 2;
  made.groups.list = {0x11ec, 0x001d};
  made.share_lengths = {1216, 32};
  made.schemes.count = 2;
  made.schemes.list = {0x0807, 0x0403};
  return made;
}

bool has(const hello::Preferences& list, uint16_t wanted) { return std::ranges::find(list.all(), wanted) != list.all().end(); }

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const hello::Terms ours = terms();
  static const auto cookies = hello::Cookies::create(std::vector<uint8_t>(32, 7));
  const std::vector<uint8_t> datagram{data, data + size};  // of its own: a read beyond it is seen
  const hello::Heard heard = hello::judge(datagram, ours);
  must(heard.sequence < uint64_t{1} << 48);
  std::vector<uint8_t> out(hello::max_retry);
  if (heard.alert != 0) {
    must(heard.judgement != hello::Judgement::retry && hello::write_alert(heard, out.data()) == hello::alert_bytes);
    return 0;
  }
  if (heard.judgement != hello::Judgement::retry) return 0;
  must(has(ours.suites, heard.suite) && has(ours.groups, heard.group) && heard.session_id.size() <= 32);
  must(heard.body.data() >= datagram.data() && heard.body.data() + heard.body.size() <= datagram.data() + datagram.size());
  const uint8_t address[20] = {4, 0, 1, 2, 192, 0, 2, 1};
  uint8_t cookie[hello::Cookies::max_bytes];
  const size_t cookie_length = cookies->seal(61e6, address, heard, {1, 3}, cookie);
  must(cookie_length > 0 && cookie_length <= sizeof cookie && load32(cookie) == 1 && cookie[hello::application_at] % 3 == 1);
  out.resize(hello::write_retry(heard, {cookie, cookie_length}, out.data()));
  must(out.size() <= hello::max_retry && load16(&out[11]) == out.size() - 13 && load16(&out[23]) == out.size() - 25);
  must(std::memcmp(out.data() + out.size() - cookie_length, cookie, cookie_length) == 0);
  return 0;
}
