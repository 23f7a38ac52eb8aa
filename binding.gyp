{
  'variables': {
    # libipsec-mb is used where the machine that builds has it, and never required
    'ipsec_mb%': '<!(printf "#include <intel-ipsec-mb.h>\\nint main(){return 0;}" | ${CXX:-c++} -xc++ - -lIPSec_MB -o /dev/null 2>/dev/null && echo 1 || echo 0)',
    # the nodes of a pass call each other across files, for every packet; the sanitizers' build does without
    'link_time%': '<!(printf "int main(){return 0;}" | ${CXX:-c++} -xc++ -O2 -flto=auto - -o /dev/null 2>/dev/null && echo 1 || echo 0)',
  },
  'targets': [{
    'target_name': 'ringway',
    # one folder per subject; native/fuzz and native/launch hold programs of their own
    'sources': ['<!@(ls native/*/*.cc | grep -Ev "^native/(fuzz|launch)/")'],
    'include_dirs': ['native'],
    'defines': ['NAPI_VERSION=10', '_GNU_SOURCE', 'RINGWAY_LIBURING="<!(pkg-config --modversion liburing 2>/dev/null || echo unknown)"'],
    'cflags': ['-Wall', '-Wextra', '-fvisibility=hidden'],
    'cflags_cc!': ['-std=gnu++20', '-std=gnu++17', '-O2'],
    # no -march: instruction sets are chosen per function (target attributes) and at run time
    'cflags_cc': ['-std=c++20', '-fno-exceptions', '-fno-rtti', '-O3'],
    'libraries': ['-luring', '-lcrypt'],
    'conditions': [
      ['ipsec_mb==1', {
        'defines': ['RINGWAY_IPSEC_MB'],
        'libraries': ['-lIPSec_MB'],
      }],
      ['link_time==1', {
        'cflags_cc': ['-flto=auto'],
        'ldflags': ['-flto=auto', '-O3'],
      }],
    ],
  }, {
    # through which the keeper starts its engine; one file, so that no capability is dropped by what is found on a path
    'target_name': 'unprivileged',
    'type': 'executable',
    'sources': ['native/launch/unprivileged.cc'],
    'cflags': ['-Wall', '-Wextra'],
    'cflags_cc!': ['-std=gnu++20', '-std=gnu++17'],
    'cflags_cc': ['-std=c++20', '-fno-exceptions', '-fno-rtti'],
  }],
}
