"""Examples of distgrad.special: those that are not in distgrad by the same name."""

import distgrad as dg
from distgrad import special

x = dg.tensor([0.25, 0.5, 1.0])

# Examples

special.bessel_j0(x)

special.bessel_j1(x)

special.chebyshev_polynomial_t(x, 3)

special.chebyshev_polynomial_u(x, 3)

special.chebyshev_polynomial_v(x, 3)

special.chebyshev_polynomial_w(x, 3)

special.entr(x)

special.erfcx(x)

special.hermite_polynomial_h(x, 3)

special.hermite_polynomial_he(x, 3)

special.i0e(x)

special.i1(x)

special.i1e(x)

special.laguerre_polynomial_l(x, 2)

special.legendre_polynomial_p(x, 2)

special.log_ndtr(x)

special.modified_bessel_i0(x)

special.modified_bessel_i1(x)

special.ndtr(x)

special.ndtri(dg.tensor([0.025, 0.5]))

special.shifted_chebyshev_polynomial_t(x, 2)

special.shifted_chebyshev_polynomial_u(x, 2)

special.shifted_chebyshev_polynomial_v(x, 2)

special.shifted_chebyshev_polynomial_w(x, 2)

special.spherical_bessel_j0(x)

special.xlog1py(dg.tensor(2.0), x)

special.zeta(dg.tensor([2.0, 4.0]), dg.tensor(1.0))
