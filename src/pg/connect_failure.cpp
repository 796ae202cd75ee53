#include "pg/connect_failure.hpp"

#include <array>

namespace regfeatd::pg {
namespace {

struct Sign {
  const char* text;  ///< a part of libpq's or the server's message
  FaultClass fault_class;
  const char* advice;  ///< what to do; "" where the message says it all
};

// The first that is found counts: a particular message stands before a general one that it may contain.
constexpr FaultClass kWrong = FaultClass::configuration;
constexpr std::array kSigns{
    Sign{
        "does not match host name", kWrong,
        "the certificate is that of another host: set host= to a name that the certificate holds (for Aurora the endpoint's own name, not an alias "
        "or an address), and keep sslmode=verify-full"},
    Sign{
        "certificate verify failed", kWrong,
        "the server's certificate has expired, or the bundle that sslrootcert= names lacks the CA that signed it; which of them, says: openssl "
        "s_client -starttls postgres -connect HOST:PORT -CAfile BUNDLE </dev/null"},
    Sign{
        "root certificate file", kWrong,
        "name the bundle of the CAs that are trusted: sslrootcert=/path/to/bundle.pem (for RDS and Aurora see docs/aurora.md)"},
    Sign{
        "server does not support SSL", kWrong,
        "the server does not speak TLS at all: check host= and port=, or have ssl = on set in its configuration; the connection stays refused while "
        "sslmode= asks for TLS"},
    Sign{"no encryption", kWrong,
         "the server takes this user only over TLS: add sslmode=verify-full sslrootcert=/path/to/bundle.pem"},
    Sign{
        "no pg_hba.conf entry", kWrong,
        "the server's pg_hba.conf (or, on RDS, the role's rds_iam membership and rds.force_ssl) does not let this user in from here"},
    Sign{
        "password authentication failed", kWrong,
        "check ~/.pgpass (mode 0600; host, port, database and user must be those of the connection), or what database.password_command prints"},
    Sign{
        "PAM authentication failed", kWrong,
        "the token was not accepted: it must be made for this host, port, user and region, the role needs rds_iam, and the instance's policy rds-db:connect"},
    Sign{"no password supplied", kWrong,
         "put the password into ~/.pgpass (or the file that $PGPASSFILE names), or set database.password_command"},
    Sign{"password retrieved from file", kWrong, ""},
    Sign{"authentication failed", kWrong, ""},
    Sign{"fe_sendauth", kWrong, ""},
    Sign{"certificate", kWrong, ""},
    Sign{"definition of service", kWrong, ""},
    Sign{"invalid sslmode", kWrong, ""},
    Sign{"permission denied for database", kWrong, ""},
    Sign{"not permitted to log in", kWrong, ""},
    Sign{
        "session is read-only", FaultClass::transient,
        "it is a standby or a reader: connect to the writer (host=a,b,c tries several), or to look at a replica's status add target_session_attrs=any"},
    // A socket file that is not there means that the server is down, or that its folder is another one.
    Sign{"No such file or directory", FaultClass::transient, ""},
    Sign{"does not exist", kWrong, ""},
};

}  // namespace

Fault connect_failure(const std::string& message) {
  const std::string said = "cannot connect to the database: " + message;
  for (const Sign& sign : kSigns) {
    if (message.find(sign.text) == std::string::npos) continue;
    const std::string advice = sign.advice;
    return Fault(sign.fault_class, advice.empty() ? said : said + " -- " + advice, "08001");
  }
  return Fault(FaultClass::transient, said, "08001");
}

}  // namespace regfeatd::pg
