#ifndef NEEDLETAIL_COPENBLAS_SHIM_H
#define NEEDLETAIL_COPENBLAS_SHIM_H

#include <cblas.h>

// OpenBLAS contains LAPACK, but the header with its C names (lapacke.h) is another package of Debian. These are
// the Fortran routines themselves: every argument goes by reference, matrices are stored column by column, and
// a workspace size of -1 asks for the best size, which the routine then writes into the first workspace element.

/// LQ factorisation of [A B], where A (m x m) is lower triangular and the last l columns of B (m x n) form a
/// trapezoid (0: B is a full rectangle). A becomes the new triangle, B and T describe the reflections.
/// https://netlib.org/lapack/explore-html/ (dtplqt)
extern void dtplqt_(const blasint *m, const blasint *n, const blasint *l, const blasint *block_size, double *a,
                    const blasint *lda, double *b, const blasint *ldb, double *t, const blasint *ldt, double *work,
                    blasint *info);

/// Least squares solution of least norm by a singular value decomposition (divide and conquer). Singular values
/// up to rcond times the largest count as zero.
/// https://netlib.org/lapack/explore-html/ (dgelsd)
extern void dgelsd_(const blasint *m, const blasint *n, const blasint *right_hand_sides, double *a, const blasint *lda,
                    double *b, const blasint *ldb, double *singular_values, const double *rcond, blasint *rank,
                    double *work, const blasint *work_size, blasint *integer_work, blasint *info);

/// QR factorisation with column pivoting: A P = Q R with diagonal elements of R that never grow. `pivots` holds 0
/// before, and then the number of each column, from 1.
/// https://netlib.org/lapack/explore-html/ (dgeqp3)
extern void dgeqp3_(const blasint *m, const blasint *n, double *a, const blasint *lda, blasint *pivots, double *tau,
                    double *work, const blasint *work_size, blasint *info);

/// Multiplies C by the Q, or its transpose, of a QR factorisation.
/// https://netlib.org/lapack/explore-html/ (dormqr)
extern void dormqr_(const char *side, const char *transpose, const blasint *m, const blasint *n,
                    const blasint *reflectors, const double *a, const blasint *lda, const double *tau, double *c,
                    const blasint *ldc, double *work, const blasint *work_size, blasint *info);

/// Cholesky factorisation of a symmetric matrix, of which the named triangle is read and replaced.
/// https://netlib.org/lapack/explore-html/ (dpotrf)
extern void dpotrf_(const char *triangle, const blasint *order, double *a, const blasint *lda, blasint *info);

/// Solves a system with the factor of dpotrf; the right-hand sides become the solutions.
/// https://netlib.org/lapack/explore-html/ (dpotrs)
extern void dpotrs_(const char *triangle, const blasint *order, const blasint *right_hand_sides, const double *a,
                    const blasint *lda, double *b, const blasint *ldb, blasint *info);

#endif
