#pragma once
// For tests: requests and answers as one line of text each, so that a test reads as a transcript,
// and so that what a real etcd answered can be kept in a file (testdata/record_etcd.py writes the
// same language).
//
//   put a 1 prev                        put KEY VALUE lease=N prev ignore_value ignore_lease
//   range a z limit=2 sort=desc by=mod  range KEY END limit= rev= sort=none|asc|desc
//   by=key|version|create|mod|value
//                                       keys_only count_only min_mod= max_mod= min_create=
//                                       max_create=
//   del a z prev                        del KEY END prev
//   compact 5
//   grant 7 60    revoke 7    keep 7    ttl 7 keys    leases      leases: grant ID TTL
//   acquire l 7 shared owner=a try      acquire NAME LEASE shared of=N owner= try queue
//   release l/7 5 all                   release KEY TOKEN all unless_after=REV
//   enter b 7 3    leave b 7            enter NAME LEASE COUNT
//   txn [ version a = 0 ; value b z > x ] [ put a 1 ; range b ] [ txn [ ] [ ] [ ] ]
//
// The word "-" is the empty string, "%00" the zero byte. END may be left out. Answers begin with
// the revision, then: put, range COUNT, del COUNT, txn yes|no [ ... ], compact, grant
// ID TTL, revoke, keep ID TTL, ttl ID LEFT GRANTED KEYS, leases IDS, acquire KEY TOKEN AHEAD TIMES,
// release TIMES (or gone), enter open|closed PRESENT, leave PRESENT OPENED, or error NAME. A
// key is told as key=value(create,mod,version), with ",lease" behind if it has one.

#include <string>
#include <string_view>

#include "api/request.h"

namespace conclave::store {

// CHECKs that `line` is of the language above.
api::Request parse_request(std::string_view line);
std::string to_text(const api::Response& response);
std::string to_text(api::ErrorCode code);

}  // namespace conclave::store
