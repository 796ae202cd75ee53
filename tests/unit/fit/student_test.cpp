#include "fit/student.hpp"

#include <gtest/gtest.h>

#include <boost/math/distributions/students_t.hpp>
#include <boost/multiprecision/cpp_dec_float.hpp>
#include <cmath>

namespace regfeatd::fit {
namespace {

using Real = boost::multiprecision::cpp_dec_float_50;

double relative_error(double value, const Real& exact) {
  return static_cast<double>(abs((Real(value) - exact) / exact));
}

TEST(StudentT, AgreesWithFiftyDigits) {
  for (const int degrees : {1, 2, 3, 4, 5, 6, 7, 8, 12, 27, 42, 57, 72, 87, 627, 1000, 9'999, 99'997}) {
    const StudentT student(degrees);
    const boost::math::students_t_distribution<Real> exact(degrees);
    const double tolerance = degrees <= 100 ? 1e-13 : degrees <= 1000 ? 1e-12 : 1e-10;
    for (double t = 1e-3; t < 40; t *= 1.37) {
      const Real p = 2 * cdf(complement(exact, Real(t)));
      if (p < Real(1e-290)) break;
      EXPECT_LE(relative_error(student.two_sided_p(t), p), tolerance) << degrees << " " << t;
      EXPECT_EQ(student.two_sided_p(t), student.two_sided_p(-t));
    }
    EXPECT_LE(relative_error(student.quantile_975(), quantile(exact, Real("0.975"))), tolerance) << degrees;
  }
}

TEST(StudentT, HoldsAtTheEnds) {
  for (const int degrees : {1, 2, 87, 99'997}) {
    const StudentT student(degrees);
    EXPECT_EQ(student.two_sided_p(0), 1.0);
    EXPECT_GE(student.two_sided_p(1e200), 0.0);
    EXPECT_LE(student.two_sided_p(1e200), 1e-150);
    EXPECT_LE(student.two_sided_p(1e-300), 1.0);
    double before = 1.0;
    for (double t = 1e-8; t < 1e8; t *= 1.5) {
      const double p = student.two_sided_p(t);
      ASSERT_LE(p, before) << degrees << " " << t;
      ASSERT_GE(p, 0.0);
      before = p;
    }
  }
}

// The table of docs/metrics.md.
TEST(StudentT, HasTheQuantilesOfTheTable) {
  const std::pair<int, double> kTable[]{{15, 2.178812829667}, {30, 2.051830516480}, {45, 2.018081702818},
                                        {60, 2.002465459291}, {75, 1.993463566662}, {90, 1.987608281589},
                                        {630, 1.963754701176}};
  for (const auto& [n, t] : kTable) EXPECT_NEAR(StudentT(n - 3).quantile_975(), t, 1e-12) << n;
}

}  // namespace
}  // namespace regfeatd::fit
