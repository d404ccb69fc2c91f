"""Figures of papers, for the scripts that put them beside ours."""

# Ivanov et al. (2019), Tables 10 and 11: mean and standard deviation of five runs.
# NRMSE, or the share of falsely classified for mushroom, phishing and zoo.
TABLE_10 = """
table      MICE        MissForest  GAIN        VAEAC        GSNN         NN
boston     0.69  0.02  0.58  0.02  0.78  0.03  0.71  0.02   0.70  0.01   0.69  0.01
breast     0.58  0.02  0.515 0.008 0.67  0.01  0.55  0.02   0.55  0.02   0.52  0.02
concrete   0.850 0.007 0.78  0.01  0.96  0.01  0.84  0.02   0.85  0.01   2     3
diabetes   0.80  0.01  0.84  0.02  0.911 0.009 0.90  0.03   0.91  0.03   0.90  0.02
digits     0.69  0.02  0.61  0.02  0.79  0.02  0.69  0.02   0.69  0.02   0.67  0.02
glass      0.91  0.02  0.83  0.04  1.06  0.05  0.91  0.04   0.91  0.05   0.87  0.04
iris       0.59  0.02  0.62  0.04  0.72  0.04  0.64  0.04   0.62  0.04   0.61  0.02
mushroom   0.334 0.002 0.249 0.006 0.271 0.003 0.241 0.002  0.2412 0.0009 0.239 0.001
orthopedic 0.76  0.02  0.79  0.03  0.91  0.03  0.80  0.03   0.81  0.03   0.81  0.02
phishing   0.422 0.006 0.422 0.009 0.427 0.010 0.397 0.010  0.392 0.009  0.41  0.01
wall       0.885 0.003 0.640 0.003 0.907 0.005 0.78  0.01   0.776 0.007  0.757 0.005
white      0.964 0.007 0.878 0.009 0.97  0.02  0.850 0.005  0.848 0.007  0.85  0.01
yeast      0.98  0.02  1.00  0.02  0.99  0.03  0.95  0.01   0.958 0.007  0.97  0.03
zoo        0.19  0.03  0.16  0.02  0.20  0.02  0.16  0.02   0.17  0.02   0.16  0.01
"""
# R2 of boston, concrete, diabetes and white, accuracy of the others.
TABLE_11 = """
table      MICE        MissForest  GAIN        VAEAC        GSNN         NN
boston     0.57  0.08  0.6   0.1   0.50  0.10  0.5   0.1    0.5   0.1    0.50  0.09
breast     0.96  0.02  0.95  0.02  0.94  0.01  0.95  0.02   0.96  0.02   0.95  0.02
concrete   0.35  0.05  0.33  0.04  0.28  0.06  0.30  0.08   0.32  0.05   0     1
diabetes   0.37  0.06  0.34  0.06  0.34  0.03  0.34  0.04   0.33  0.04   0.27  0.06
digits     0.86  0.02  0.887 0.008 0.83  0.03  0.892 0.010  0.895 0.010  0.912 0.010
glass      0.44  0.08  0.53  0.05  0.37  0.05  0.49  0.09   0.47  0.09   0.48  0.09
iris       0.81  0.02  0.84  0.02  0.66  0.06  0.84  0.05   0.82  0.06   0.73  0.09
mushroom   0.92  0.01  0.972 0.003 0.969 0.005 0.987 0.001  0.986 0.002  0.989 0.003
orthopedic 0.71  0.02  0.72  0.03  0.60  0.03  0.71  0.02   0.70  0.04   0.61  0.04
phishing   0.75  0.02  0.73  0.03  0.74  0.03  0.75  0.01   0.74  0.04   0.73  0.02
wall       0.55  0.01  0.697 0.005 0.56  0.01  0.62  0.02   0.62  0.01   0.64  0.02
white      0.13  0.02  0.17  0.01  0.11  0.01  0.18  0.02   0.17  0.01   0.15  0.03
yeast      0.42  0.02  0.41  0.02  0.39  0.06  0.42  0.01   0.425 0.010  0.33  0.03
zoo        0.78  0.06  0.71  0.08  0.67  0.06  0.77  0.09   0.8   0.1    0.83  0.08
"""

# Results file of Jolicoeur-Martineau et al. (2024): means over the sixteen tables;
# coverage and percent_bias over the five with a numeric target. Seconds are theirs.
SIXTEEN = """
method            avg_mae min_mae w_train coverage percent_bias seconds
KNN-1             0.126   0.126   0.428   0.43     117          0
ICE_draw          0.176   0.090   0.501   0.43     119          7
miceforest        0.095   0.060   0.318   0.80     68           224
MissForest        0.084   0.073   0.286   0.84     70           172
SoftImpute        0.184   0.184   0.528   0.33     123          17
OT                0.172   0.130   0.612   0.44     116          256
GAIN              0.131   0.129   0.490   0.61     111          18
ForestDiffusion   0.136   0.072   0.492   0.55     97           943
ForestDiff_RePaint 0.127  0.070   0.460   0.64     90           1158
"""


def rows_of(text):
    """Name of each line, and its cells by column name."""
    header, *lines = (line.split() for line in text.strip().splitlines())
    return {line[0]: dict(zip(header[1:], line[1:], strict=True)) for line in lines}


def means_and_deviations(text):
    """Pairs (mean, standard deviation) by table and method."""
    header, *lines = (line.split() for line in text.strip().splitlines())
    return {
        line[0]: {
            method: (float(line[2 * i + 1]), float(line[2 * i + 2]))
            for i, method in enumerate(header[1:])
        }
        for line in lines
    }
